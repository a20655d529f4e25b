/** The harness itself: the same seed, planted bugs, shrinking, replaying, its options. */
import t from 'tap'
import { Faults } from '../../src/crash/faults.ts'
import {
  CrashTestError,
  type CrashTestOptions,
  crashTest,
  FAULT_KINDS,
  type FaultKind,
  LOG_SCENARIO,
  type Plan,
  pastedTest,
  replayCrash,
  SimulatedDevice,
  traceOf,
} from '../../src/crash/index.ts'
import { live } from '../../src/crash/life.ts'
import { crc32c, provenEnd } from '../../src/crash/log/evidence.ts'
import { Oracle } from '../../src/crash/log/oracle.ts'
import { Violation } from '../../src/crash/plan.ts'
import { shrink } from '../../src/crash/shrink.ts'
import type { Log } from '../../src/index.ts'

const QUIET = { seed: 3, runs: 100 }

async function errorOf<S>(options: CrashTestOptions<S>): Promise<CrashTestError> {
  const found = await crashTest(options).then(
    () => undefined,
    error => error,
  )
  if (found instanceof CrashTestError) return found
  throw found ?? new Error('nothing was found')
}

async function namesIn(log: Log): Promise<string[]> {
  const names: string[] = []
  for await (const { data } of log.scan()) names.push(String(data))
  return names
}

/** Appends numbers, and forgets something, as the test wants it. */
function counting(acknowledgesEarly: boolean): CrashTestOptions<string> {
  return {
    ...QUIET,
    steps: random => Array.from({ length: 6 }, () => String(random.int(0, 99))),
    async workload({ open, steps, acknowledge }) {
      const log = await open()
      for (const step of steps) {
        log.append(Buffer.from(step))
        if (acknowledgesEarly) acknowledge(step)
        await log.flush()
        if (!acknowledgesEarly) acknowledge(step)
      }
      await log.close()
    },
    async verify({ open, acknowledged }) {
      const found = await namesIn(await open())
      // Others that nobody was told of may stand between them.
      let at = 0
      for (const name of found) if (name === acknowledged[at]) at++
      if (at < acknowledged.length) throw new Error(`${acknowledged[at]} is lost`)
    },
  }
}

t.test('the same seed comes to the same run, operation by operation', async t => {
  const trace = async () => {
    const lines: string[] = []
    const listening = {
      ...LOG_SCENARIO,
      workload: async (context: Parameters<typeof LOG_SCENARIO.workload>[0]) => {
        const { device } = context
        const { interference } = device
        device.interference = operation => {
          lines.push(JSON.stringify(operation))
          return interference?.(operation)
        }
        await LOG_SCENARIO.workload(context)
        for (const name of device.names()) lines.push(`${name} ${crc32c(device.bytesOf(name))}`)
      },
    }
    const { byKind, points } = await crashTest({
      ...listening,
      seed: 11,
      runs: 400,
      faults: FAULT_KINDS,
    })
    return { lines, byKind, points }
  }
  const [one, other] = [await trace(), await trace()]
  t.ok(one.lines.length > 100)
  t.same(one, other)
})

t.test(
  'an acknowledgement that comes too early is found, and told with seed and trace',
  async t => {
    const error = await errorOf(counting(true))
    t.equal(error.code, 'ERR_RIOLOG_CRASH_TEST')
    t.match(error.message, /^the verification failed: \d+ is lost\nseed \d+, after \d+ runs/)
    t.match(error.message, /the power is cut/)
    t.equal(error.plan.lives.length, 1, 'one life is enough')
    t.equal(error.plan.lives[0].steps.length, 1, 'and one step')
    const again = await errorOf({ ...counting(true), seed: error.seed })
    t.equal(again.seed, error.seed, 'that seed finds it at once')
    t.same(again.plan, error.plan)
  },
)

t.test('what it prints can be run again, also as JSON', async t => {
  const { plan } = await errorOf(counting(true))
  const copy = JSON.parse(JSON.stringify(plan)) as Plan
  await t.rejects(replayCrash(counting(true), copy), { code: 'ERR_RIOLOG_CRASH_TEST' })
  await replayCrash(counting(false), copy)
  const source = pastedTest(plan)
  const json = source.slice(source.indexOf('{\n'), source.lastIndexOf('}') + 1)
  t.same(JSON.parse(json), plan)
  t.equal(traceOf(plan).split('\n').length, 3)
})

t.test('a program that does it right passes, also beside faults that it is told of', async t => {
  const { runs, byKind } = await crashTest({
    ...counting(false),
    runs: 400,
    faults: ['short', 'again', 'slow'],
  })
  t.ok(runs >= QUIET.runs)
  t.ok((byKind.short ?? 0) + (byKind.again ?? 0) + (byKind.slow ?? 0) > 0)
})

t.test('a workload that throws or hangs is found', async t => {
  const verify = async () => {}
  const throwing = async () => Promise.reject(new Error('of its own'))
  t.match(
    (await errorOf({ ...QUIET, verify, workload: throwing })).message,
    /the workload failed: of its own/,
  )
  const hanging = () => new Promise<void>(() => {})
  const { message } = await errorOf({ ...QUIET, verify, workload: hanging })
  t.match(message, /the workload waits for something that never comes/)
})

t.test('it takes the disk itself, too', async t => {
  const { bytes, memory } = (await import('../../src/disk/buffer.ts')).allocateBuffer(4096)
  const options = (syncs: boolean): CrashTestOptions => ({
    ...QUIET,
    async workload({ disk, acknowledge }) {
      const directory = await disk.openDirectory('d', undefined)
      const file = await directory.open('counter', 'create', 0o600)
      await directory.sync()
      for (let i = 1; i < 5; i++) {
        bytes[0] = i
        await file.write({ bytes, memory }, 0, 4096, 0)
        if (syncs) await file.sync()
        acknowledge(i)
      }
    },
    async verify({ disk, device, acknowledged }) {
      await disk.openDirectory('d', undefined)
      const found = device.names().length === 0 ? 0 : (device.bytesOf('counter')[0] ?? 0)
      const last = (acknowledged.at(-1) ?? 0) as number
      if (found < last) throw new Error(`${last} was written, ${found} is there`)
    },
  })
  t.match((await errorOf(options(false))).message, /was written, 0 is there/)
  // A sector can be lost while it is written once more: one place is not enough for a counter.
  t.match((await errorOf(options(true))).message, /was written, 0 is there/)
})

t.test('at every moment of a short life, and of its recoveries', async t => {
  const steps = [{ do: 'append', bytes: 100 }, { do: 'flush' }, { do: 'wait' }] as const
  const seen = new Set<number>()
  const summary = await crashTest(
    { ...LOG_SCENARIO, steps: () => steps, everyPoint: true, seed: 1, runs: 60 },
    { onRun: ({ inRecovery }) => seen.add(inRecovery) },
  )
  t.equal(summary.pointsComplete, summary.points)
  t.equal(summary.runs, 60, 'it ends where it was told to')
  t.ok(seen.has(0))
})

t.test('options are checked', async t => {
  const { workload, verify } = counting(false)
  const bad: Record<string, unknown>[] = [
    { runs: 0 },
    { seed: -1 },
    { faults: ['no such'] },
    { verify: 1 },
    { more: 1 },
  ]
  for (const wrong of bad) {
    await t.rejects(crashTest({ workload, verify, ...wrong }), {
      code: 'ERR_RIOLOG_INVALID_OPTION',
    })
  }
})

t.test('shrinking takes away what makes no difference, and nothing that does', async t => {
  const life = {
    phase: 'workload' as const,
    seed: 1,
    steps: [...Array(20).keys()],
    faults: [{ kind: 'eio' as const, from: 1, seed: 1 }],
    hasPageCache: true,
    crashAt: 40,
    survivors: { kind: 'power' as const, sectorBytes: 512 as const, fates: 'nnozgn', seed: 1 },
  }
  const plan = { lives: [life, { ...life, steps: [] }, life] }
  const fails = async ({ lives }: Plan) => {
    const all = lives.flatMap(({ steps }) => steps)
    const isZero = lives.some(
      ({ survivors }) => survivors.kind === 'power' && survivors.fates[3] === 'z',
    )
    return all.includes(7) && all.includes(13) && isZero ? new Violation('still') : undefined
  }
  const { plan: shortest } = await shrink(plan, new Violation('first'), fails, 10_000)
  t.equal(shortest.lives.length, 1)
  const [{ steps, faults, hasPageCache, survivors }] = shortest.lives
  t.same({ steps, faults, hasPageCache }, { steps: [7, 13], faults: [], hasPageCache: false })
  t.equal(survivors.kind === 'power' && survivors.fates, 'oooz')
  const { attempts } = await shrink(plan, new Violation('first'), fails, 5)
  t.equal(attempts, 5, 'no more than allowed')
})

t.test('the oracle', async t => {
  const data = Buffer.from('x')
  const appended = (lsn: number, batch = lsn) => ({ kind: 'appended', lsn, data, batch }) as const
  const history = [appended(1), appended(2), appended(3, 3), appended(4, 3), appended(5)]
  const durable = { kind: 'durable', end: 3 } as const
  const found = (...lsns: number[]) => lsns.map(lsn => ({ lsn, data }))
  const judge = (more: object[], lsns: number[], end = Number.POSITIVE_INFINITY) =>
    new Oracle([...history, ...more]).judge(found(...lsns), end)
  const cases: [string, object[], number[], RegExp | undefined, number?][] = [
    ['what is acknowledged and a prefix', [durable], [1, 2], undefined],
    ['all', [durable], [1, 2, 3, 4, 5], undefined],
    ['an acknowledged record is missing', [durable], [1], /LSN 2 was acknowledged and is lost/],
    ['the same, where nothing proves it', [durable], [1], undefined, 2],
    ['a hole', [], [1, 3, 4], /found LSN 3 where LSN 2 was expected/],
    ['twice', [], [1, 1], /found LSN 1 where LSN 2/],
    ['invented', [], [1, 2, 3, 4, 5, 6], /LSN 6 was never appended/],
    ['a part of a batch', [], [1, 2, 3], /only a part was found/],
    ['given out twice', [appended(1)], [1], /LSN 1 was given out twice/],
    ['a trim that nobody was told of', [{ kind: 'trim asked', lsn: 2 }], [2, 3, 4], undefined],
    ['nor has it taken place', [{ kind: 'trim asked', lsn: 2 }], [1, 2], undefined],
    ['a trim that is undone', [{ kind: 'trimmed', lsn: 2 }], [1, 2], /found LSN 1 where LSN 2/],
    [
      'a rewind that nobody was told of',
      [durable, { kind: 'rewind asked', lsn: 2 }],
      [1],
      undefined,
    ],
    [
      'half of one',
      [
        { kind: 'durable', end: 6 },
        { kind: 'rewind asked', lsn: 2 },
      ],
      [1, 2],
      /is lost/,
    ],
    [
      'a rewind that is undone',
      [{ kind: 'rewound', lsn: 3 }],
      [1, 2, 3, 4],
      /LSN 3 was never appended, or was dropped/,
    ],
    [
      'what was shown is gone',
      [{ kind: 'found', lsns: [1, 2] }],
      [1],
      /LSN 2 was acknowledged and is lost/,
    ],
    ['more than was shown', [{ kind: 'found', lsns: [1, 2] }], [1, 2, 3, 4], /LSN 3 was never/],
  ]
  for (const [name, more, lsns, wrong, proven] of cases) {
    const judged = judge(more, lsns, proven).join()
    if (wrong === undefined) t.equal(judged, '', name)
    else t.match(judged, wrong, name)
  }
  t.match(new Oracle(history).judge([{ lsn: 1, data: Buffer.from('y') }]).join(), /other bytes/)
})

t.test('each fault is done once, to the first operation that it fits', async t => {
  const write = { kind: 'write', name: 'a', position: 0, length: 8192 } as const
  const fits: Partial<Record<FaultKind, object>> = {
    'eio-read': { kind: 'read' },
    'eio-directory': { kind: 'syncDirectory' },
  }
  for (const kind of FAULT_KINDS) {
    const device = new SimulatedDevice()
    device.putFile('a', new Uint8Array(16_384).fill(1))
    const before = device.bytesOf('a')
    const faults = new Faults(device, [{ kind, from: 5, seed: 1 }])
    const operation = (index: number, more: object = {}) =>
      faults.on({ ...write, ...fits[kind], ...more, index })
    t.equal(operation(4), undefined, `${kind} comes no earlier`)
    let effect = operation(5)
    if (faults.done.length === 0) effect = operation(6, { kind: 'sync' })
    t.equal(faults.done.length, 1, kind)
    const isChanged = Buffer.compare(before, device.bytesOf('a')) !== 0
    t.ok(effect !== undefined || isChanged || kind === 'stale-block', `${kind} does something`)
    t.equal(operation(7), undefined, `${kind} comes once`)
  }
})

t.test('evidence within a batch proves nothing of it', async t => {
  const device = new SimulatedDevice()
  const settings = { seed: 1, faults: [], history: [] }
  let first = 0
  await live(device, settings, async ({ open }) => {
    const log = await open({ maxGroupBytes: 8192, idleStampMs: 0 })
    await log.appendDurable(Buffer.from('a'))
    ;[first] = await log.appendBatchDurable([1, 2, 3, 4].map(n => Buffer.alloc(5000, n)))
  })
  t.equal(provenEnd(device), first - 64, 'the last group tells of those before it')
  await live(device.snapshot(), settings, async ({ open, device }) => {
    const log = await open()
    t.ok(provenEnd(device) > first, 'an opening tells of all of it')
    await log.close()
  })
})

t.test('the evidence on a disk, read by the format alone', async t => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  const device = new SimulatedDevice()
  let ends: number[] = []
  const settings = { seed: 1, faults: [], history: [] }
  await live(device, settings, async ({ open }) => {
    const log = await open()
    for (let i = 0; i < 3; i++) {
      await log.appendDurable(Buffer.from('a'))
      ends = [...ends, log.durableLsn]
    }
  })
  t.equal(provenEnd(device), ends[1], 'the last group has nothing behind it')
  await live(device.snapshot(), settings, async ({ open, device }) => {
    await (await open()).close()
    t.equal(provenEnd(device), ends[2], 'an opening tells the manifest')
  })
  const lying = device.snapshot()
  lying.damage('0000000000000001.seg', bytes => {
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(72, 2n ** 52n, true)
    return undefined
  })
  t.equal(provenEnd(lying), ends[1], 'a length that no file has is not walked through')
  device.damage('MANIFEST', bytes => new Uint8Array(bytes.length))
  t.equal(provenEnd(device), Number.POSITIVE_INFINITY, 'without a manifest an opening always tells')
})
