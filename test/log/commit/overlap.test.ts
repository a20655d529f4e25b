/** Callers and the disk at the same time, or in turns: what decides it, and what it comes to. */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { Overlap, type OverlapMode } from '../../../src/log/commit/overlap.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../../src/log/options.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { KIB, recordsOf, withFiles } from '../../support/simulated.ts'

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

class Measured {
  #ms = 1000
  readonly overlap: Overlap

  constructor(mode: OverlapMode = 'auto') {
    this.overlap = new Overlap(mode, () => this.#ms)
  }

  /** A commit of so many records, others waiting meanwhile, some of it beside work before; then its callers' work. */
  commit({ took = 1, beside = 0, records = 10, open = 0, workEach = 0 }): void {
    this.#ms += took - beside
    this.overlap.committed(this.#ms, took, records, open)
    this.#ms += workEach * records
    this.overlap.wentOn()
  }

  /** One of 10 records, with so many ms of other work before the callers go on, which is told or not. */
  commitThen(otherMs: number, goesOn: boolean): boolean {
    this.#ms += 1
    this.overlap.committed(this.#ms, 1, 10, 0)
    this.#ms += otherMs
    if (goesOn) this.overlap.goOn()
    this.overlap.wentOn()
    return this.overlap.isOn
  }

  times(count: number, commit: Parameters<Measured['commit']>[0]): boolean {
    for (let i = 0; i < count; i++) this.commit(commit)
    return this.overlap.isOn
  }
}

/** In turns 10 records take a commit of 1 ms and their callers' work; at once 5 take `atOnceMs`. */
function run(measured: Measured, commits: number, workEach: number, atOnceMs: number): number {
  let atOnce = 0
  for (let i = 0; i < commits; i++) {
    if (measured.overlap.isOn) {
      atOnce++
      measured.commit({ records: 5, open: 5, workEach, took: atOnceMs, beside: 5 * workEach })
    } else measured.commit({ workEach })
  }
  return atOnce
}

/** Commits behind which the first comparison is over, and the next one has not begun. */
const DECIDED = 250
/** So many that both ways have been tried, more than once. */
const LONG = 1000

t.test('where callers take longer than three quarters of a commit both ways are tried', async t => {
  for (const [workEach, atOnceMs, isOn] of [
    [0.08, 0.8, true],
    [0.08, 0.95, false],
    [0.15, 1.1, true],
    [0.15, 1.3, false],
    [0.15, 2, false],
    [1, 5.1, true],
  ] as const) {
    const measured = new Measured()
    t.ok(run(measured, LONG, workEach, atOnceMs) > 0)
    t.equal(measured.overlap.isOn, isOn, `${workEach} ms each, at once ${atOnceMs} ms for 5`)
    t.equal(new Measured('never').times(LONG, { workEach }), false)
    t.equal(new Measured('always').times(1, { workEach }), true)
  }
  t.equal(new Measured().overlap.isOn, false, 'not before the first')
  t.equal(new Measured('always').overlap.isOn, false)
})

t.test('where they take less, nothing is tried', async t => {
  for (const workEach of [0, 0.01, 0.07]) {
    t.equal(run(new Measured(), 10 * LONG, workEach, 0.1), 0, `${workEach} ms each`)
  }
  t.equal(run(new Measured(), LONG, 0.08, 0.1) > 0, true)
  // One is not halved.
  t.equal(new Measured().times(LONG, { records: 1, workEach: 5 }), false)
})

t.test('all callers count: those that wait, too', async t => {
  const measured = new Measured()
  let tried = 0
  const commit = { records: 5, open: 5, workEach: 0.08 }
  for (let i = 0; i < LONG; i++) if (measured.times(1, commit)) tried++
  t.ok(tried > 0, 'ten take 0.8 ms')
  tried = 0
  const alone = new Measured()
  for (let i = 0; i < LONG; i++) if (alone.times(1, { ...commit, open: 0 })) tried++
  t.equal(tried, 0, 'five take 0.4 ms')
})

t.test(
  'a commit that is noticed late is not taken for a slow disk, but a slow disk is',
  async t => {
    const measured = new Measured()
    run(measured, DECIDED, 0.2, 1.1)
    t.equal(measured.overlap.isOn, true)
    // What callers did stood in the way of noticing it.
    t.equal(measured.times(20, { took: 10, workEach: 0.2 }), true)
    t.equal(measured.times(500, { took: 10, workEach: 0.2 }), false, 'it takes that long for good')
  },
)

t.test('callers that change what they do are looked at again', async t => {
  const measured = new Measured()
  run(measured, DECIDED, 0.2, 1.1)
  t.equal(measured.overlap.isOn, true)
  t.equal(measured.times(50, { workEach: 0.001 }), false)
  t.equal(measured.times(50, { workEach: 0.2 }), true, 'the choice stands')
})

t.test('what is done for the other half is no work of the callers', async t => {
  for (const [goesOn, tries] of [
    [true, false],
    [false, true],
  ] as const) {
    const measured = new Measured()
    let tried = 0
    for (let i = 0; i < LONG; i++) {
      if (measured.commitThen(0.8, goesOn)) tried++
    }
    t.equal(tried > 0, tries)
  }
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

t.test('how long nobody looks at the disk', async t => {
  t.ok(new Measured('never').overlap.mayFillTo(7, true) >= 2 ** 20, 'in turns: until it answers')
  const measured = new Measured('always')
  const { overlap } = measured
  measured.commit({ records: 10, open: 1, workEach: 0 })
  t.equal(overlap.mayFillTo(0, false), 6, 'it is idle: until half of the callers have come')
  t.equal(overlap.mayFillTo(7, true), 7 + 64, 'callers who do nothing that can be measured')
  for (const [workEach, records] of [
    [0.0004, 12],
    [0.003, 1],
    [0.006, 0],
    [1, 0],
  ]) {
    measured.times(200, { records: 10, workEach })
    t.equal(overlap.mayFillTo(7, true), 7 + records, `${workEach} ms each`)
  }
})

/** A log whose commits are answered by the test, and callers that append again as soon as they may. */
async function held(options: LogOptions, callers: number, busyMs = 0) {
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
      for (const until = performance.now() + busyMs; performance.now() < until; );
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

t.test('the disk is looked at for each record of callers who take long', async t => {
  const { log, answer, end, calls } = await held({ overlap: 'always' }, 8, 0.05)
  for (let i = 0; i < 20; i++) await answer()
  const before = calls()
  for (let i = 0; i < 100; i++) log.append(Buffer.alloc(100))
  t.equal(calls() - before, 100)
  await end()
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
    for (const overlap of ['never', 'auto', 'always'] as const) {
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
    const [never, , always] = groups
    t.comment(`groups a record: ${never.toFixed(4)} in turns, ${always.toFixed(4)} at once`)
    t.ok(always > never, 'halves are groups of their own')
  },
)
