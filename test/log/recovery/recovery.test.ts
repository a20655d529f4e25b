/**
 * The verdict, one case a row: a log is made, something happens to its files, and opening says what
 * docs/DURABILITY.md promises for it.
 */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { CorruptionError, RiologError } from '../../../src/errors.ts'
import { type Facts, judge, VERDICT_CASES } from '../../../src/log/recovery/verdict.ts'
import { COPY_AT, MANIFEST_CASES, MANIFEST_NAME } from '../../../src/log/segments/manifest.ts'
import { readGroupHeader, sealGroup } from '../../../src/segment/group.ts'
import { decodeSegmentHeader } from '../../../src/segment/header.ts'
import { openSimulated, recordsOf } from '../../support/simulated.ts'

const A = 4096
const SEGMENT = 64 * 1024

/** Appends so that each record is a group of its own, and every group but the last is proven by the
 *  next one's D. */
async function logOf(records: readonly number[], end: 'killed' | 'closed') {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const lsns: number[] = []
  for (const bytes of records) lsns.push(await log.appendDurable(Buffer.alloc(bytes, bytes)))
  if (end === 'closed') await log.close()
  return { device: device.afterKill(), lsns }
}

const segmentFile = (n: number) => `${String(n).padStart(16, '0')}.seg`
const flip = (at: number) => (bytes: Uint8Array) => {
  bytes[at] ^= 0x10
  return undefined
}

interface Outcome {
  /** Records shown, or the code of the error. */
  readonly records?: number
  readonly verdict?: string
  readonly code?: string
  readonly where?: { segment: number; offset: number }
}

interface Row {
  readonly name: string
  readonly records: readonly number[]
  readonly end: 'killed' | 'closed'
  readonly damage: (device: SimulatedDevice, lsns: readonly number[]) => void
  readonly outcome: Outcome
}

/** Three groups of one record at offsets 2A, 3A and 4A of segment 1: the link group stands at A. */
const THREE = [100, 200, 300]
/** Groups of 13, 13, 13 and 13 KiB: the second segment begins within them. */
const ROTATING = Array.from({ length: 8 }, () => 13 * 1024)

const ROWS: readonly Row[] = [
  {
    name: 'killed, everything whole',
    records: THREE,
    end: 'killed',
    damage: () => {},
    outcome: { records: 3, verdict: 'torn tail' },
  },
  {
    name: 'closed',
    records: THREE,
    end: 'closed',
    damage: () => {},
    outcome: { records: 3, verdict: 'clean end' },
  },
  {
    name: 'killed: the last group torn in its payload, nothing proves it',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(4 * A + 100)),
    outcome: { records: 2, verdict: 'torn tail' },
  },
  {
    name: 'killed: the last group torn in its header',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(4 * A + 20)),
    outcome: { records: 2, verdict: 'torn tail' },
  },
  {
    name: 'killed: a group that a later D proves durable',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(2 * A + 100)),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 2 * A } },
  },
  {
    name: 'killed: the header of a group that a later D proves durable',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(3 * A + 5)),
    // The third group's D is the end of the second: F > L.
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 3 * A } },
  },
  {
    name: 'killed: proof of durability in a torn group counts all the same',
    records: THREE,
    end: 'killed',
    damage: device => {
      device.damage(segmentFile(1), flip(3 * A + 100))
      device.damage(segmentFile(1), flip(4 * A + 100))
    },
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 3 * A } },
  },
  {
    name: 'killed: padding does not count',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(3 * A - 8)),
    outcome: { records: 3, verdict: 'torn tail' },
  },
  {
    name: 'killed: stale content behind the end',
    records: THREE,
    end: 'killed',
    damage: device =>
      device.damage(segmentFile(1), bytes => {
        bytes.copyWithin(5 * A, 3 * A, 4 * A) // a group of this very segment at a wrong place
        return undefined
      }),
    outcome: { records: 3, verdict: 'torn tail' },
  },
  {
    name: 'killed: two groups swapped (misdirected writes)',
    records: THREE,
    end: 'killed',
    damage: device =>
      device.damage(segmentFile(1), bytes => {
        const second = bytes.slice(3 * A, 4 * A)
        bytes.copyWithin(3 * A, 2 * A, 3 * A)
        bytes.set(second, 2 * A)
        return undefined
      }),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 2 * A } },
  },
  {
    name: 'killed: the link group of a segment below the floor',
    records: THREE,
    end: 'killed',
    damage: device => device.damage(segmentFile(1), flip(A + 8)),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: A } },
  },
  {
    name: 'the header block of a live segment',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(segmentFile(1), flip(40)),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 0 } },
  },
  {
    name: 'a live segment is missing',
    records: THREE,
    end: 'closed',
    damage: device => device.removeFile(segmentFile(1)),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 0 } },
  },
  {
    name: 'a live segment is cut short',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(segmentFile(1), bytes => bytes.slice(0, 8 * A)),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 0 } },
  },
  {
    name: 'a live segment is empty',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(segmentFile(1), () => new Uint8Array()),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 1, offset: 0 } },
  },
  {
    name: 'two segments swapped',
    records: ROTATING,
    end: 'closed',
    damage: device => {
      const [one, two] = [device.bytesOf(segmentFile(1)), device.bytesOf(segmentFile(2))]
      device.damage(segmentFile(1), () => two)
      device.damage(segmentFile(2), () => one)
    },
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 2, offset: 0 } },
  },
  {
    name: 'a segment of a future version',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(segmentFile(1), bytes => void (bytes[8] = 9)),
    outcome: { code: 'ERR_RIOLOG_FUTURE_VERSION' },
  },
  {
    name: 'a manifest of a future version',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(MANIFEST_NAME, bytes => void (bytes[COPY_AT[1] + 8] = 9)),
    outcome: { code: 'ERR_RIOLOG_FUTURE_VERSION' },
  },
  {
    name: 'the first copy of the manifest',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(MANIFEST_NAME, flip(COPY_AT[0] + 80)),
    outcome: { records: 3, verdict: 'clean end' },
  },
  {
    name: 'the second copy of the manifest',
    records: THREE,
    end: 'closed',
    damage: device => device.damage(MANIFEST_NAME, flip(COPY_AT[1] + 80)),
    outcome: { records: 3, verdict: 'clean end' },
  },
  {
    name: 'both copies of the manifest',
    records: THREE,
    end: 'closed',
    damage: device => {
      for (const at of COPY_AT) device.damage(MANIFEST_NAME, flip(at + 80))
    },
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 0, offset: 0 } },
  },
  {
    name: 'no manifest, and segment files',
    records: THREE,
    end: 'closed',
    damage: device => device.removeFile(MANIFEST_NAME),
    outcome: { code: 'ERR_RIOLOG_CORRUPT', where: { segment: 0, offset: 0 } },
  },
  {
    name: 'an empty directory: no log yet',
    records: THREE,
    end: 'closed',
    damage: device => {
      for (const name of device.names()) device.removeFile(name)
    },
    outcome: { records: 0, verdict: 'created' },
  },
  {
    name: 'a manifest that was never finished, and nothing else',
    records: [],
    end: 'killed',
    damage: device => {
      for (const name of device.names()) device.removeFile(name)
      device.putFile(MANIFEST_NAME, new Uint8Array(100))
    },
    outcome: { records: 0, verdict: 'created' },
  },
  {
    name: 'a foreign segment file is live',
    records: THREE,
    end: 'closed',
    damage: () => {},
    outcome: { code: 'ERR_RIOLOG_FOREIGN' },
  },
  {
    name: 'foreign and dead files do not count',
    records: THREE,
    end: 'closed',
    damage: device => {
      device.putFile('notes.txt', Buffer.from('mine'))
      device.putFile('1.seg', Buffer.from('not canonical'))
      device.putFile('9999999999999999.seg', Buffer.from('out of range'))
      device.putFile(segmentFile(7), Buffer.from('dead'))
    },
    outcome: { records: 3, verdict: 'clean end' },
  },
  {
    name: 'killed after a rotation',
    records: ROTATING,
    end: 'killed',
    damage: () => {},
    outcome: { records: 8, verdict: 'torn tail' },
  },
]

async function swapForeign(device: SimulatedDevice) {
  const other = await logOf(THREE, 'closed')
  const bytes = other.device.bytesOf(segmentFile(1))
  device.damage(segmentFile(1), () => bytes)
}

async function open(device: SimulatedDevice): Promise<Outcome> {
  try {
    const log = await openSimulated(device)
    const { verdict } = log.recovery
    const records = await recordsOf(log)
    return { records: records.length, verdict }
  } catch (error) {
    if (!(error instanceof RiologError)) throw error
    const { code } = error
    if (!(error instanceof CorruptionError)) return { code }
    return { code, where: { segment: error.segment, offset: error.offset } }
  }
}

for (const row of ROWS) {
  t.test(row.name, async t => {
    const { device, lsns } = await logOf(row.records, row.end)
    if (row.outcome.code === 'ERR_RIOLOG_FOREIGN') await swapForeign(device)
    row.damage(device, lsns)
    const before = new Map(device.names().map(name => [name, device.bytesOf(name).slice()]))
    t.same(await open(device), row.outcome)
    for (const [name, bytes] of before) {
      const touchable = row.outcome.code === undefined && name === MANIFEST_NAME
      const same = touchable || Buffer.compare(device.bytesOf(name), bytes) === 0
      t.ok(same, `opening wrote nothing into ${name}`)
    }
  })
}

t.test('each verdict has facts that lead to it', async t => {
  const base: Facts = {
    pinned: false,
    floor: 5,
    verifiedEnd: 5,
    evidence: 5,
    provenEnd: 5,
    endBeforeBatch: 5,
    bad: undefined,
  }
  const bad = { segment: 1, offset: 8, lsn: 9 }
  const cases: [Partial<Facts>, string, number | undefined][] = [
    [{ floor: 0, verifiedEnd: 0, evidence: 0, endBeforeBatch: 0, pinned: true }, 'empty', 0],
    [{ pinned: true }, 'clean end', 5],
    [{ bad, evidence: 6 }, 'corruption', undefined],
    [{ bad }, 'torn tail', 5],
    [{ bad, verifiedEnd: 9, endBeforeBatch: 7, evidence: 9 }, 'torn tail', 7],
    [{}, 'whole', 5],
  ]
  for (const [facts, kind, end] of cases) {
    const verdict = judge({ ...base, ...facts })
    t.equal(verdict.kind, kind)
    t.equal(verdict.kind === 'corruption' ? undefined : verdict.end, end)
  }
  const reached = new Set(cases.map(([, kind]) => kind))
  t.same(
    VERDICT_CASES.map(row => row.kind).filter(kind => !reached.has(kind)),
    [],
    'no row is out of reach',
  )
})

t.test('the manifest table', async t => {
  const { decodeManifest, encodeManifest, judgeManifest, NO_SEGMENT } = await import(
    '../../../src/log/segments/manifest.ts'
  )
  const manifest = {
    uuid: '00112233445566778899aabbccddeeff',
    segmentSize: SEGMENT,
    alignment: A,
    pinned: true,
    epoch: 3,
    update: 7,
    newest: NO_SEGMENT,
    floor: 0,
    trimLsn: 0,
  }
  const copy = (change: object) => decodeManifest(encodeManifest({ ...manifest, ...change }))
  const bad = decodeManifest(new Uint8Array(512))
  const future = { kind: 'future', version: 2 } as const
  const rows: [string, ReturnType<typeof copy>, ReturnType<typeof copy>, object][] = [
    ['a copy of a future version', copy({}), future, { kind: 'future', version: 2 }],
    ['no copy verifies', bad, bad, { kind: 'none' }],
    ['only the second copy verifies', bad, copy({}), { kind: 'good', copy: 1 }],
    ['only the first copy verifies', copy({}), bad, { kind: 'good', copy: 0 }],
    ['copies of two logs', copy({}), copy({ uuid: 'f'.repeat(32) }), { kind: 'conflict' }],
    ['the same update with other content', copy({}), copy({ epoch: 4 }), { kind: 'conflict' }],
    [
      'the second copy is newer',
      copy({}),
      copy({ update: 8 }),
      { copy: 1, updatesApart: undefined },
    ],
    [
      'the first copy is as new or newer',
      copy({ update: 9 }),
      copy({}),
      { copy: 0, updatesApart: 2 },
    ],
  ]
  for (const [name, a, b, expected] of rows) {
    t.match(judgeManifest(a, b), expected, name)
    t.equal(MANIFEST_CASES.find(row => row.when(a, b))?.name, name, 'by this very row')
  }
  t.equal(rows.length, MANIFEST_CASES.length, 'every row has its case')
})

t.test('trimmed to its end, and killed behind the rotation that came next', async t => {
  for (const isTorn of [false, true]) {
    const device = new SimulatedDevice()
    const log = await openSimulated(device, { idleStampMs: 0 })
    // A segment is full with three; the next one is prepared, and the floor is its link.
    for (let i = 0; i < 3; i++) await log.appendDurable(Buffer.alloc(13_000))
    for (let i = 0; i < 40; i++) await new Promise(resolve => setImmediate(resolve))
    const end = await log.trim(log.durableLsn)
    const lsn = await log.appendDurable(Buffer.alloc(13_000, 1))
    t.equal(Math.floor(lsn / SEGMENT), 2)
    const killed = device.afterKill()
    if (isTorn) killed.damage(segmentFile(2), flip(A + 70))
    const again = await openSimulated(killed)
    t.equal(again.recovery.verdict, 'torn tail')
    t.equal(again.durableLsn, isTorn ? end : lsn - 64 + 4 * A)
    t.equal((await recordsOf(again)).length, isTorn ? 0 : 1)
    t.ok((await again.appendDurable(Buffer.from('goes on'))) > lsn)
    await again.close()
  }
})

t.test('a write of a killed process that lands behind an opening does not count', async t => {
  const { device, lsns } = await logOf([100, 200, 300], 'killed')
  const at = lsns[2] - 64 - SEGMENT
  const late = device.bytesOf(segmentFile(1)).slice(at, at + A)
  // Nothing was told of it yet, and it is still on its way.
  device.damage(segmentFile(1), bytes => void bytes.fill(0, at, at + A))
  const first = await openSimulated(device)
  t.equal((await recordsOf(first)).length, 2)
  const killed = device.afterKill()
  killed.damage(segmentFile(1), bytes => void bytes.set(late, at))
  const second = await openSimulated(killed)
  t.equal((await recordsOf(second)).length, 2, 'what one opening has shown the next one shows')
  await second.close()
})

t.test('a group that follows another place than the one it stands at is torn', async t => {
  const { device, lsns } = await logOf([100, 200, 300], 'killed')
  const lsn = lsns[2] - 64
  device.damage(segmentFile(1), bytes => {
    const found = decodeSegmentHeader(bytes.subarray(0, A))
    if (found.kind !== 'good') throw new Error('no header')
    const { salt } = found.header
    const block = bytes.subarray(lsn - SEGMENT, lsn - SEGMENT + A)
    const group = readGroupHeader(block, 0, { salt, lsn }, SEGMENT)
    sealGroup(block, { ...group!, salt, previousEnd: lsn - A }, A)
    return undefined
  })
  const log = await openSimulated(device)
  t.equal(log.recovery.verdict, 'torn tail')
  t.equal(log.recovery.end, lsn)
  await log.close()
})
