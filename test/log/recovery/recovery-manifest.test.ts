/**
 * The verdict on the manifest, one case a row: each copy and both torn, lost, of other updates, of another
 * log and of a future version; of logs that were killed and closed, in files of either kind.
 */
import t from 'tap'
import {
  COPY_AT,
  COPY_BYTES,
  decodeManifest,
  encodeManifest,
  MANIFEST_NAME,
  type Manifest,
} from '../../../src/log/segments/manifest.ts'
import {
  A,
  type End,
  FILE_KINDS,
  makeWorld,
  type Outcome,
  openWorld,
  type Row,
  runRow,
  type World,
} from '../../support/recovery-table.ts'

type Copy = 0 | 1
const COPIES: readonly Copy[] = [0, 1]

/** Changes the first sector of a copy, where all of it stands. */
function change(world: World, copy: Copy, run: (sector: Uint8Array) => void): void {
  world.device.damage(MANIFEST_NAME, bytes => {
    run(bytes.subarray(COPY_AT[copy], COPY_AT[copy] + COPY_BYTES))
    return undefined
  })
}

function copyOf({ device }: World, copy: Copy): Manifest {
  const at = COPY_AT[copy]
  const found = decodeManifest(device.bytesOf(MANIFEST_NAME).subarray(at, at + COPY_BYTES))
  if (found.kind !== 'good') throw new Error('the copy does not verify')
  return found.manifest
}

/** Writes a copy again, sealed, with something else in it. */
function rewrite(world: World, copy: Copy, other: (now: Manifest) => Partial<Manifest>): void {
  const now = copyOf(world, copy)
  change(world, copy, sector => sector.set(encodeManifest({ ...now, ...other(now) })))
}

const tear = (world: World, copy: Copy) => change(world, copy, sector => sector.fill(0, 48))
const older = (by: number) => (now: Manifest) => ({ update: now.update - by })

const whole = (end: End) => (): Outcome => ({
  lost: 0,
  verdict: end === 'closed' ? 'clean end' : 'torn tail',
})
const corrupt = (): Outcome => ({
  code: 'ERR_RIOLOG_CORRUPT',
  where: { segment: 0, offset: 0 },
})

type Damage = (world: World, copy: Copy) => void

const OF_ONE_COPY: readonly [string, Damage, (end: End) => () => Outcome][] = [
  ['is torn within its sector', tear, whole],
  ['is zeros', (world, copy) => change(world, copy, sector => sector.fill(0)), whole],
  ['is garbage', (world, copy) => change(world, copy, sector => sector.fill(0xa5)), whole],
  [
    'has another byte somewhere',
    (world, copy) => change(world, copy, sector => void (sector[80] ^= 4)),
    whole,
  ],
  ['is one update older', (world, copy) => rewrite(world, copy, older(1)), whole],
  ['is two updates older', (world, copy) => rewrite(world, copy, older(2)), whole],
  [
    'has the same number and another floor',
    (world, copy) => rewrite(world, copy, now => ({ floor: now.floor - A })),
    () => corrupt,
  ],
  [
    'is of another log',
    (world, copy) => rewrite(world, copy, () => ({ uuid: 'f'.repeat(32) })),
    () => corrupt,
  ],
  [
    'is of another log, and older',
    (world, copy) => rewrite(world, copy, now => ({ uuid: 'f'.repeat(32), ...older(1)(now) })),
    () => corrupt,
  ],
  [
    'is of a future version',
    (world, copy) => change(world, copy, sector => void (sector[8] = 2)),
    () => () => ({ code: 'ERR_RIOLOG_FUTURE_VERSION' }),
  ],
]

const OF_THE_FILE: readonly [string, (world: World) => void, (end: End) => () => Outcome][] = [
  ['both copies are torn', world => COPIES.forEach(copy => void tear(world, copy)), () => corrupt],
  [
    'the file ends before the second copy',
    ({ device }) => device.damage(MANIFEST_NAME, bytes => bytes.slice(0, COPY_AT[1])),
    whole,
  ],
  [
    'the file ends within the first copy',
    ({ device }) => device.damage(MANIFEST_NAME, bytes => bytes.slice(0, 80)),
    () => corrupt,
  ],
  [
    'the file is empty',
    ({ device }) => device.damage(MANIFEST_NAME, () => new Uint8Array()),
    () => corrupt,
  ],
  ['the file is missing', ({ device }) => device.removeFile(MANIFEST_NAME), () => corrupt],
]

function rows(end: End): Row[] {
  const ofOne = OF_ONE_COPY.flatMap(([name, damage, outcome]) =>
    COPIES.map(copy => ({
      name: `${end}: copy ${copy} ${name}`,
      end,
      damage: (world: World) => damage(world, copy),
      outcome: outcome(end),
    })),
  )
  const ofAll = OF_THE_FILE.map(([name, damage, outcome]) => {
    return { name: `${end}: ${name}`, end, damage, outcome: outcome(end) }
  })
  return [...ofOne, ...ofAll]
}

for (const kind of FILE_KINDS) {
  for (const end of ['killed', 'closed'] as const) {
    for (const row of rows(end)) t.test(`${kind}, ${row.name}`, t => runRow(t, row, kind))
  }
}

t.test(
  'the better copy counts, what is lost is reported, and the next opening mends it',
  async t => {
    for (const copy of COPIES) {
      for (const [by, reported] of [
        [1, undefined],
        [2, 2],
        [5, 5],
      ] as const) {
        const world = await makeWorld('recycled', 'closed')
        // An older floor, not pinned: from there on the opening would have to read.
        rewrite(world, copy, now => ({ ...older(by)(now), pinned: false, floor: now.floor - A }))
        const newer = copyOf(world, copy === 0 ? 1 : 0)
        const log = await openWorld(world.device)
        t.equal(log.recovery.verdict, 'clean end')
        t.equal(log.recovery.manifestUpdatesApart, reported)
        const [one, other] = COPIES.map(each => copyOf(world, each))
        t.same(one, other)
        t.match(one, { update: newer.update + 1, epoch: newer.epoch + 1, floor: newer.floor })
        await log.close()
        const reader = await openWorld(world.device, { readOnly: true })
        t.equal(reader.recovery.manifestUpdatesApart, undefined)
        await reader.close()
      }
    }
  },
)

t.test('the copy that was not read is written first', async t => {
  for (const copy of COPIES) {
    const { device, ...world } = await makeWorld('full of zeros', 'closed')
    tear({ device, ...world }, copy)
    const written: number[] = []
    device.interference = ({ kind, name, position }) => {
      if (kind === 'write' && name === MANIFEST_NAME) written.push(position)
      return undefined
    }
    const log = await openWorld(device)
    t.same(written, copy === 0 ? [COPY_AT[0], COPY_AT[1]] : [COPY_AT[1], COPY_AT[0]])
    await log.close()
  }
})
