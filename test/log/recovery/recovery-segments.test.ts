/**
 * The verdict on segments, one case a row: torn, lost, stale, misdirected, swapped, missing, foreign and of
 * a future version, each where the file was full of zeros before and where it is recycled.
 */
import t from 'tap'
import { segmentName } from '../../../src/segment/format.ts'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  type SegmentHeader,
} from '../../../src/segment/header.ts'
import {
  A,
  FILE_KINDS,
  makeWorld,
  type Row,
  runRow,
  SEGMENT,
  type World,
} from '../../support/recovery-table.ts'

/** Changes the bytes of a segment; of the one in use unless told. */
function change(world: World, run: (bytes: Uint8Array) => void, number = world.number): void {
  world.device.damage(segmentName(number), bytes => {
    run(bytes)
    return undefined
  })
}

const flip = (world: World, at: number, number?: number) =>
  change(world, bytes => void (bytes[at] ^= 0x10), number)

/** Puts what stood there before into a part of the file: a write that was lost. */
function lose(world: World, from: number, length: number): void {
  change(world, bytes => bytes.set(world.stale.subarray(from, from + length), from))
}

const TORN = (lost: number) => () => ({ lost, verdict: 'torn tail' })
const CLEAN =
  (lost = 0) =>
  () => ({ lost, verdict: 'clean end' })

/** Corruption at a group of the segment in use: everything before it verifies. */
const corruptAt = (index: number, provenBy: number) => (world: World) => {
  const { segment, offset, lsn } = world.groups[index]
  // The first group's end before it is the parent's end.
  const { lsn: last, length } = world.parentGroups.at(-1)!
  const verified = index === 0 ? last + length : lsn
  const proven = world.groups[provenBy].lsn
  return { code: 'ERR_RIOLOG_CORRUPT', where: { segment, offset }, verified, proven }
}

const corruptFile = (number: (world: World) => number) => (world: World) => ({
  code: 'ERR_RIOLOG_CORRUPT',
  where: { segment: number(world), offset: 0 },
})
const own = ({ number }: World) => number
const parents = ({ parent }: World) => parent
const coded = (code: string) => () => ({ code })

/** The other log's segment of the same number, in this one's place. */
async function putForeign(world: World, number: number): Promise<void> {
  const other = await makeWorld('full of zeros', 'closed')
  world.device.damage(segmentName(number), () => other.device.bytesOf(segmentName(number)))
}

function swapFiles({ device }: World, one: number, other: number): void {
  const [a, b] = [one, other].map(number => device.bytesOf(segmentName(number)).slice())
  device.damage(segmentName(one), () => b)
  device.damage(segmentName(other), () => a)
}

const TORN_TAILS: Row[] = [
  ['the last group, all of it, was not written', 0, A],
  ['the last group: its header sector was not', 0, 512],
  ['the last group: only its header sector was', 512, A - 512],
].map(([name, from, length]) => ({
  name: String(name),
  end: 'killed',
  damage: world => lose(world, world.groups[3].offset + Number(from), Number(length)),
  // A header that verifies is evidence, but its D tells of no more than what is before it. Behind 512
  // bytes there is only padding.
  outcome: from === 512 ? TORN(0) : TORN(1),
}))

const LOST: readonly Row[] = [
  {
    name: 'the last group: its record is torn, its header is not',
    end: 'killed',
    damage: world => flip(world, world.groups[3].offset + 100),
    outcome: TORN(1),
  },
  {
    name: 'a group before the last was not written: the last one proves it',
    end: 'killed',
    damage: world => lose(world, world.groups[2].offset, A),
    outcome: corruptAt(2, 3),
  },
  {
    name: 'two groups were not written, and the last one tells of both',
    end: 'killed',
    damage: world => lose(world, world.groups[1].offset, 2 * A),
    outcome: corruptAt(1, 3),
  },
  {
    name: 'the second half of a group was not written, one behind it proves it',
    end: 'killed',
    damage: world => lose(world, world.groups[0].offset + A, A),
    outcome: corruptAt(0, 3),
  },
  {
    name: 'the last two groups: the last header proves the one before, though both are torn',
    end: 'killed',
    damage: world => {
      flip(world, world.groups[2].offset + 100)
      flip(world, world.groups[3].offset + 100)
    },
    outcome: corruptAt(2, 3),
  },
  {
    name: 'the last two groups, with their headers: nothing proves either',
    end: 'killed',
    damage: world => lose(world, world.groups[2].offset, 2 * A),
    outcome: TORN(2),
  },
  {
    name: 'all of the segment: the log ends in the parent',
    end: 'killed',
    damage: world => lose(world, A, SEGMENT - A),
    outcome: TORN(4),
  },
  {
    name: 'the first group: those behind it prove it, though nothing tells where the parent ends',
    end: 'killed',
    damage: world => lose(world, A, 2 * A),
    outcome: ({ parent, parentGroups, groups }) => {
      const { offset, length, lsn } = parentGroups.at(-1)!
      const where = { segment: parent, offset: offset + length }
      return { code: 'ERR_RIOLOG_CORRUPT', where, verified: lsn + length, proven: groups[3].lsn }
    },
  },
  {
    name: 'a group of the parent behind the floor',
    end: 'killed',
    damage: world => flip(world, world.parentGroups[3].offset + 100, world.parent),
    outcome: ({ parent, parentGroups, groups }) => {
      const { offset, lsn } = parentGroups[3]
      const where = { segment: parent, offset }
      return { code: 'ERR_RIOLOG_CORRUPT', where, verified: lsn, proven: groups[3].lsn }
    },
  },
  {
    name: 'a group of the parent before the floor, which an opening trusts: told when it is read',
    end: 'killed',
    damage: world => flip(world, world.parentGroups[1].offset + 100, world.parent),
    outcome: ({ parentGroups: [, { segment, offset }] }) => ({
      verdict: 'torn tail',
      badAt: { segment, offset },
    }),
  },
  {
    name: 'after a clean close: a group, told when it is read',
    end: 'closed',
    damage: world => lose(world, world.groups[3].offset, A),
    outcome: ({ groups }) => ({
      verdict: 'clean end',
      badAt: { segment: groups[3].segment, offset: groups[3].offset },
    }),
  },
  {
    name: 'after a clean close: the first group, which links to the parent',
    end: 'closed',
    damage: world => lose(world, A, A),
    outcome: ({ number: segment }) => ({
      code: 'ERR_RIOLOG_CORRUPT',
      where: { segment, offset: A },
    }),
  },
  {
    name: 'after a clean close: what lies behind the end never counts',
    end: 'closed',
    damage: world => change(world, bytes => bytes.fill(0xa5, world.groups[3].offset + A)),
    outcome: CLEAN(),
  },
]

/** Copies a group to another place, and puts back what stood at its own. */
function misdirect(world: World, index: number, to: { number: number; offset: number }): void {
  const { offset, length } = world.groups[index]
  const group = world.device.bytesOf(segmentName(world.number)).slice(offset, offset + length)
  lose(world, offset, length)
  change(world, bytes => bytes.set(group, to.offset), to.number)
}

const MISDIRECTED: readonly Row[] = [
  {
    name: 'the last group behind its place: it verifies at its own place only',
    end: 'killed',
    damage: world => misdirect(world, 3, { ...world, offset: 7 * A }),
    outcome: TORN(1),
  },
  {
    name: 'a group that is proven, behind the end',
    end: 'killed',
    damage: world => misdirect(world, 1, { ...world, offset: 8 * A }),
    outcome: corruptAt(1, 3),
  },
  {
    name: 'the last group over a live one of the same segment',
    end: 'killed',
    damage: world => misdirect(world, 3, { ...world, offset: world.groups[1].offset }),
    outcome: corruptAt(1, 2),
  },
  {
    name: 'the last group into the parent, over one before the floor',
    end: 'killed',
    damage: world =>
      misdirect(world, 3, { number: world.parent, offset: world.parentGroups[1].offset }),
    outcome: ({ parentGroups: [, { segment, offset }] }) => ({
      verdict: 'torn tail',
      badAt: { segment, offset },
    }),
  },
  {
    name: 'the last group into the parent, over its first, which has the link to its own parent',
    end: 'killed',
    damage: world => misdirect(world, 3, { number: world.parent, offset: A }),
    outcome: ({ parent: segment }) => ({
      code: 'ERR_RIOLOG_CORRUPT',
      where: { segment, offset: A },
    }),
  },
  {
    name: 'the last group into the parent, over one behind the floor',
    end: 'killed',
    damage: world =>
      misdirect(world, 3, { number: world.parent, offset: world.parentGroups[2].offset }),
    outcome: ({ parent: segment, parentGroups, groups }) => ({
      code: 'ERR_RIOLOG_CORRUPT',
      where: { segment, offset: parentGroups[2].offset },
      verified: parentGroups[2].lsn,
      proven: groups[2].lsn,
    }),
  },
  {
    name: 'the last group into the parent, behind its cut: not looked at',
    end: 'killed',
    damage: world => misdirect(world, 3, { number: world.parent, offset: SEGMENT - A }),
    outcome: TORN(1),
  },
  {
    name: 'the last group over the header block',
    end: 'killed',
    damage: world => misdirect(world, 3, { ...world, offset: 0 }),
    outcome: corruptFile(own),
  },
  {
    name: 'a group of the parent to where the log ends, with its own place intact',
    end: 'killed',
    damage: world => {
      const { offset, length } = world.parentGroups[0]
      const from = world.device.bytesOf(segmentName(world.parent)).slice(offset, offset + length)
      change(world, bytes => bytes.set(from, world.groups[3].offset + A))
    },
    outcome: TORN(0),
  },
  {
    name: 'two groups swapped',
    end: 'killed',
    damage: world =>
      change(world, bytes => {
        const [one, other] = [world.groups[1].offset, world.groups[2].offset]
        const group = bytes.slice(one, one + A)
        bytes.copyWithin(one, other, other + A)
        bytes.set(group, other)
      }),
    outcome: corruptAt(1, 3),
  },
]

/** The header, verified and sealed again, with something else in it. */
function reseal(world: World, changed: (header: SegmentHeader) => Partial<SegmentHeader>): void {
  change(world, bytes => {
    const found = decodeSegmentHeader(bytes.subarray(0, A))
    if (found.kind !== 'good') throw new Error('no header')
    bytes.set(encodeSegmentHeader({ ...found.header, ...changed(found.header) }))
  })
}

const FILES: readonly Row[] = [
  {
    name: 'the header was not written',
    end: 'killed',
    damage: world => lose(world, 0, A),
    outcome: corruptFile(own),
  },
  {
    name: 'the header: its first sector is zeros',
    end: 'closed',
    damage: world => change(world, bytes => bytes.fill(0, 0, 512)),
    outcome: corruptFile(own),
  },
  {
    name: 'the header of the parent',
    end: 'closed',
    damage: world => flip(world, 40, world.parent),
    outcome: corruptFile(parents),
  },
  {
    name: 'the header: another salt',
    end: 'closed',
    damage: world => reseal(world, ({ salt }) => ({ salt: { ...salt, low: salt.low ^ 1 } })),
    outcome: corruptFile(own),
  },
  {
    name: 'the header: another number',
    end: 'closed',
    damage: world => reseal(world, ({ number }) => ({ number: number + 1 })),
    outcome: corruptFile(own),
  },
  {
    name: 'the header: a longer file than there is',
    end: 'closed',
    damage: world =>
      world.device.damage(segmentName(world.number), bytes => bytes.slice(0, SEGMENT - A)),
    outcome: corruptFile(own),
  },
  {
    name: 'a longer file than the header says is none the worse',
    end: 'closed',
    damage: world =>
      world.device.damage(segmentName(world.number), bytes =>
        Buffer.concat([bytes, Buffer.alloc(3 * A, 0xa5)]),
      ),
    outcome: CLEAN(),
  },
  {
    name: 'the header: of another log',
    end: 'closed',
    damage: world => reseal(world, () => ({ uuid: 'f'.repeat(32) })),
    outcome: coded('ERR_RIOLOG_FOREIGN'),
  },
  {
    name: 'the segment is missing',
    end: 'killed',
    damage: world => world.device.removeFile(segmentName(world.number)),
    outcome: corruptFile(own),
  },
  {
    name: 'the parent is missing',
    end: 'killed',
    damage: world => world.device.removeFile(segmentName(world.parent)),
    outcome: corruptFile(parents),
  },
  {
    name: 'the segment and its parent are swapped',
    end: 'killed',
    damage: world => swapFiles(world, world.number, world.parent),
    outcome: corruptFile(own),
  },
  {
    name: 'the file of another segment, from before, in its place',
    end: 'killed',
    damage: world => world.device.damage(segmentName(world.number), () => world.stale.slice()),
    outcome: corruptFile(own),
  },
  {
    name: 'a foreign file in its place',
    end: 'killed',
    damage: world => putForeign(world, world.number),
    outcome: coded('ERR_RIOLOG_FOREIGN'),
  },
  {
    name: 'a foreign file in the place of the parent',
    end: 'killed',
    damage: world => putForeign(world, world.parent),
    outcome: coded('ERR_RIOLOG_FOREIGN'),
  },
  ...[own, parents].map(
    (which): Row => ({
      name: `${which === own ? 'the segment' : 'the parent'} is of a future version`,
      end: 'killed',
      damage: world => change(world, bytes => void (bytes[8] = 2), which(world)),
      outcome: coded('ERR_RIOLOG_FUTURE_VERSION'),
    }),
  ),
  {
    name: 'dead files, whatever they contain',
    end: 'killed',
    damage: ({ device, number }) => {
      device.putFile(segmentName(number + 7), Buffer.alloc(3 * A, 0xa5))
      device.putFile(segmentName(1), device.bytesOf(segmentName(number)))
    },
    outcome: TORN(0),
  },
]

const PREPARED: readonly Row[] = [
  {
    name: 'nothing is in it: the end is in the parent',
    end: 'prepared',
    damage: () => {},
    outcome: TORN(0),
  },
  {
    name: 'garbage behind its header is nothing',
    end: 'prepared',
    damage: world => change(world, bytes => bytes.fill(0xa5, A)),
    outcome: TORN(0),
  },
  {
    name: 'its header: it was synced before the manifest named it',
    end: 'prepared',
    damage: world => flip(world, 48),
    outcome: corruptFile(own),
  },
  {
    name: 'it is missing',
    end: 'prepared',
    damage: world => world.device.removeFile(segmentName(world.number)),
    outcome: corruptFile(own),
  },
  {
    name: 'the parent ends in a torn group',
    end: 'prepared',
    damage: world => flip(world, world.parentGroups[3].offset + 100, world.parent),
    outcome: TORN(1),
  },
]

const TABLES: [string, readonly Row[]][] = [
  ['torn', TORN_TAILS],
  ['lost', LOST],
  ['misdirected', MISDIRECTED],
  ['files', FILES],
  ['prepared and not used', PREPARED],
]

for (const kind of FILE_KINDS) {
  t.test(`a file that is ${kind}: what was in it before`, async t => {
    const { device, number, stale, groups } = await makeWorld(kind, 'killed')
    const behind = groups[3].offset + A
    const isEmpty = (bytes: Uint8Array) => bytes.every(byte => byte === 0)
    t.equal(isEmpty(stale), kind === 'full of zeros')
    t.equal(isEmpty(device.bytesOf(segmentName(number)).subarray(behind)), isEmpty(stale))
  })
  for (const [table, rows] of TABLES) {
    for (const row of rows) {
      t.test(`${kind}, ${table}: ${row.name}`, t => runRow(t, row, kind))
    }
  }
}
