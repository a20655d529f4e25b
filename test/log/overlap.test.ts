/** Callers and the disk at the same time, or in turns: what decides it, and what it comes to. */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import { Overlap, type OverlapMode } from '../../src/log/overlap.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { KIB, recordsOf, withFiles } from '../support/simulated.ts'

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

class Measured {
  #ms = 1000
  readonly overlap: Overlap

  constructor(mode: OverlapMode = 'auto') {
    this.overlap = new Overlap(mode, () => this.#ms)
  }

  /** A commit of so many records, others waiting meanwhile; then their callers' work. */
  commit({ took = 1, records = 10, open = 0, workEach = 0 }): void {
    this.#ms += took
    this.overlap.committed(this.#ms, took, records, open)
    this.#ms += workEach * records
    this.overlap.wentOn()
  }

  times(count: number, commit: Parameters<Measured['commit']>[0]): boolean {
    for (let i = 0; i < count; i++) this.commit(commit)
    return this.overlap.isOn
  }
}

t.test('at once where callers take longer than two commits', async t => {
  for (const [workEach, isOn] of [
    [0, false],
    [0.01, false],
    [0.19, false],
    [0.21, true],
    [5, true],
  ] as const) {
    t.equal(new Measured().times(100, { workEach }), isOn, `${workEach} ms each, of 10`)
    t.equal(new Measured('never').times(100, { workEach }), false)
    t.equal(new Measured('always').times(1, { workEach }), true)
  }
  t.equal(new Measured().overlap.isOn, false, 'not before the first')
  t.equal(new Measured('always').overlap.isOn, false)
})

t.test('all callers count: those that wait, too', async t => {
  const measured = new Measured()
  measured.times(100, { records: 5, open: 5, workEach: 0.3 })
  t.equal(measured.overlap.isOn, true)
  measured.times(100, { records: 5, open: 0, workEach: 0.3 })
  t.equal(measured.overlap.isOn, false)
})

t.test(
  'a commit that is noticed late is not taken for a slow disk, but a slow disk is',
  async t => {
    const measured = new Measured()
    measured.times(50, { took: 1, workEach: 1 })
    // What callers did stood in the way of noticing it.
    t.equal(measured.times(20, { took: 10, workEach: 1 }), true)
    t.equal(measured.times(500, { took: 10, workEach: 1 }), false, 'it takes that long for good')
    t.equal(measured.times(8, { took: 1, workEach: 1 }), true, 'and no longer')
  },
)

t.test('the first commits of a process decide nothing, nor does a lone caller', async t => {
  const measured = new Measured()
  // One record, and all that is done for the first time.
  measured.commit({ records: 1, workEach: 20 })
  t.equal(measured.times(7, { records: 64, workEach: 0.001 }), false)
  t.equal(measured.times(1000, { records: 64, workEach: 0.001 }), false)
  t.equal(new Measured().times(7, { workEach: 5 }), false)
  t.equal(new Measured().times(1000, { records: 1, workEach: 5 }), false, 'one is not halved')
})

t.test('callers that change what they do are measured again', async t => {
  const measured = new Measured()
  t.equal(measured.times(50, { workEach: 1 }), true)
  t.equal(measured.times(50, { workEach: 0.01 }), false)
  t.equal(measured.times(50, { workEach: 1 }), true)
})

t.test('halves', async t => {
  const { overlap } = new Measured('always')
  t.equal(overlap.isHalf(1000), false, 'there was no commit to halve')
  overlap.committed(0, 1000, 10, 2)
  t.same(
    [5, 6, 12].map(open => overlap.isHalf(open)),
    [false, true, true],
  )
  t.same(
    [0, 2, 3, 12].map(open => overlap.isOtherHalf(open)),
    [false, false, true, true],
  )
  overlap.committed(0, 1000, 1, 0)
  t.same(
    [0, 1].map(open => overlap.isHalf(open)),
    [false, true],
  )
})

/** A log whose commits are answered by the test, and callers that append again as soon as they may. */
async function held(options: LogOptions, callers: number) {
  const commits: { records: number; done: () => void }[] = []
  let [asked, calls] = [0, 0]
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), () => ({
    commit: (...args) => {
      commits.push({ records: asked, done: () => args[5](undefined) })
      asked = 0
    },
    letGoOn: () => {
      calls++
    },
  }))
  const log = await Log.openOn(disk, 'held', checkOptions({ segmentSize: 1024 * KIB, ...options }))
  let goesOn = true
  const lsns: number[] = []
  /** How many commits there were whenever a caller went on. */
  const wentOn: number[] = []
  const all = Array.from({ length: callers }, async () => {
    while (goesOn) {
      const appended = log.appendDurable(Buffer.alloc(100))
      asked++
      lsns.push(await appended)
      wentOn.push(commits.length)
    }
  })
  await turn()
  const answer = async () => {
    commits.at(-1)!.done()
    await turn()
  }
  const end = async () => {
    goesOn = false
    const closing = log.close()
    for (let left = 0; left !== commits.length; ) {
      left = commits.length
      await answer()
    }
    await Promise.all([...all, closing])
    t.same(
      lsns,
      [...lsns].sort((a, b) => a - b),
      'told in the order of their LSNs',
    )
  }
  return { log, commits, answer, end, wentOn, calls: () => calls }
}

t.test('in turns all callers share each commit; at once half of them do', async t => {
  for (const [overlap, expected] of [
    ['never', [8, 8, 8, 8, 8, 8]],
    // The first half is cut within the turn in which they append.
    ['always', [8, 4, 4, 4, 4, 4]],
  ] as const) {
    const { log, commits, answer, end, calls, wentOn } = await held({ overlap }, 8)
    for (let i = 1; i < expected.length; i++) {
      t.equal(commits.length, i, 'one at a time')
      await answer()
    }
    t.same(
      commits.map(({ records }) => records),
      expected,
      overlap,
    )
    const before = commits.length
    wentOn.length = 0
    await answer()
    const [first] = wentOn
    const ahead = overlap === 'always' ? 1 : 0
    t.equal(first, before + ahead, 'the other half goes before anybody goes on')
    for (let i = 0; i < 20; i++) log.append(Buffer.alloc(100))
    t.equal(commits.length, before + 1, 'nothing is cut while a commit is in flight')
    t.equal(calls() > 0, overlap === 'always', 'the kernel is let go on only where they overlap')
    await end()
  }
})

t.test('a delay is kept, and a batch stays in one group', async t => {
  const { commits, answer, end } = await held({ overlap: 'always', maxDelayMs: 1 }, 8)
  await new Promise(resolve => setTimeout(resolve, 20))
  await turn()
  t.same(
    commits.map(({ records }) => records),
    [8],
  )
  await answer()
  await end()

  const device = new SimulatedDevice()
  const options = checkOptions({ segmentSize: 1024 * KIB, overlap: 'always' })
  const log = await Log.openOn(new SimulatedDisk(device), 'batches', options)
  for (let i = 0; i < 20; i++) {
    for (let k = 0; k < 4; k++)
      log.appendBatch([Buffer.alloc(50, 2 * k), Buffer.alloc(50, 2 * k + 1)])
    await log.flush()
  }
  t.ok(log.metrics().groups > 20, 'groups were cut within a turn')
  t.equal(log.metrics().recordsPerGroup.min % 2, 0)
  await log.close()
})

onEachEngine(
  t,
  'callers that work hard: nothing is lost, and more commits are made',
  async (t, engine) => {
    const groups: number[] = []
    for (const overlap of ['never', 'auto'] as const) {
      const path = temporaryDirectory(t)
      const log = await Log.open(path, { engine, overlap, segmentSize: 8 * 1024 * KIB })
      let count = 0
      const until = performance.now() + 400
      const callers = Array.from({ length: 32 }, async (_, id) => {
        while (performance.now() < until) {
          const lsn = await log.appendDurable(Buffer.from(`${id} ${count++}`))
          if (lsn >= log.durableLsn) t.fail('told too early')
          for (const end = performance.now() + 0.3; performance.now() < end; );
        }
      })
      await Promise.all(callers)
      groups.push(log.metrics().groups / count)
      await log.close()
      const again = await Log.open(path, { readOnly: true })
      const found = (await recordsOf(again)).map(({ data }) => Number(String(data).split(' ')[1]))
      t.same([...new Set(found)].length, count, 'each of them, once')
      t.equal(found.length, count)
      await again.close()
    }
    const [never, auto] = groups
    t.comment(`groups a record: ${never.toFixed(4)} in turns, ${auto.toFixed(4)} measured`)
    t.ok(auto > never, 'halves are groups of their own')
  },
)
