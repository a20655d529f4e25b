/**
 * The verdict: where does the log end, and is what lies before it whole?
 *
 * First the facts are gathered from the disk, then a table decides. Damage is corruption only when
 * something proves that the place was once durable (F > L); otherwise it is a torn tail, which a crash
 * leaves behind and which nobody was promised. Recovery writes no byte into a segment.
 */
import { CorruptionError } from '../../errors.ts'
import {
  BATCH_FIRST,
  BATCH_LAST,
  BATCH_MIDDLE,
  BATCH_NONE,
  type GroupInfo,
  groupEnd,
  readGroupHeader,
} from '../../segment/group.ts'
import { Window } from '../../segment/window.ts'
import {
  futureRecord,
  groupHeaderAt,
  type LiveChain,
  type LiveSegment,
} from '../segments/live-chain.ts'
import type { Manifest } from '../segments/manifest.ts'

export interface BadGroup {
  readonly segment: number
  readonly offset: number
  readonly lsn: number
}

export interface Facts {
  /** The manifest says that the floor is also the end. */
  readonly pinned: boolean
  readonly floor: number
  /** L: the end of the prefix that verifies. */
  readonly verifiedEnd: number
  /** F: the highest place that anything on the disk proves to have been durable. */
  readonly evidence: number
  /** Where the evidence ends for who relies on it alone: F, or the end before a batch that F is in. */
  readonly provenEnd: number
  /** The end before a batch that is not whole at L; L itself when there is none. */
  readonly endBeforeBatch: number
  /** What stopped the verification, unless it came to the end of the last segment. */
  readonly bad: BadGroup | undefined
}

/** How a log ends. `end` is the place behind its last record. */
export type Verdict =
  | { readonly kind: 'empty' | 'clean end' | 'whole' | 'torn tail'; readonly end: number }
  | { readonly kind: 'corruption'; readonly error: CorruptionError }

interface VerdictCase {
  readonly kind: Verdict['kind']
  readonly when: (facts: Facts) => boolean
}

/** The first row that fits decides. */
export const VERDICT_CASES: readonly VerdictCase[] = [
  { kind: 'empty', when: facts => facts.floor === 0 && facts.verifiedEnd === 0 && !facts.bad },
  { kind: 'clean end', when: facts => facts.pinned },
  { kind: 'corruption', when: facts => facts.evidence > facts.verifiedEnd },
  { kind: 'torn tail', when: facts => facts.bad !== undefined },
  { kind: 'whole', when: () => true },
]

export function judge(facts: Facts): Verdict {
  const { kind } = VERDICT_CASES.find(row => row.when(facts))!
  if (kind !== 'corruption') {
    return { kind, end: kind === 'clean end' ? facts.floor : facts.endBeforeBatch }
  }
  const { verifiedEnd, evidence } = facts
  const where = facts.bad ?? { segment: 0, offset: 0, lsn: verifiedEnd }
  const message = `the log verifies up to LSN ${verifiedEnd}, and was durable up to LSN ${evidence}`
  return { kind, error: new CorruptionError(message, where) }
}

/** @throws SystemError: an error of the system is never a verdict */
export async function gatherFacts(manifest: Manifest, chain: LiveChain): Promise<Facts> {
  const { floor, pinned } = manifest
  const holding = holdingFloor(floor, chain)
  if (pinned || holding === undefined) {
    // A clean end needs no reading: whoever stamped it had everything before it durable.
    const bad = undefined
    const ends = { verifiedEnd: floor, evidence: floor, provenEnd: floor, endBeforeBatch: floor }
    return { pinned, floor, ...ends, bad }
  }
  const window = new Window(chain.alignment)
  const prefix = await verifyFrom(floor, holding, chain, window)
  const evidence = prefix.bad ? await findEvidence(prefix, chain, window) : prefix.evidence
  window.release()
  const { verifiedEnd, endBeforeBatch, bad } = prefix
  const provenEnd = provenEndOf(prefix, evidence)
  return { pinned, floor, verifiedEnd, evidence, provenEnd, endBeforeBatch, bad }
}

/**
 * How far the log is proven durable, from an end on that is known to be: what one who follows a writer
 * may show. Looks for no damage: an opening does.
 */
export async function provenFrom(end: number, chain: LiveChain, window: Window): Promise<number> {
  const holding = holdingFloor(end, chain)
  if (holding === undefined) return end
  // One block tells whether there is anything new, which is not so most of the time.
  const next = end === holding.cut ? chain.segments[chain.indexOf(holding) + 1] : holding
  const at = next === holding ? end : (next?.base ?? 0) + chain.alignment
  if (next === undefined || at >= next.cut) return end
  const { alignment, maxGroup } = chain
  if ((await groupHeaderAt(next, at, alignment, maxGroup)) === undefined) return end
  window.forget()
  const prefix = await verifyFrom(end, holding, chain, window)
  return Math.max(end, Math.min(provenEndOf(prefix), prefix.endBeforeBatch))
}

/** The evidence, or the end before a batch that it is in. */
function provenEndOf({ batches, evidence }: Prefix, most = evidence): number {
  return batches.find(({ from, to }) => from < most && most < to)?.from ?? most
}

/**
 * The live segment that the floor lies in; undefined for a log without one.
 * @throws CorruptionError when the floor lies in none: what is behind it was durable
 */
function holdingFloor(floor: number, chain: LiveChain): LiveSegment | undefined {
  if (floor === 0 && chain.segments.length === 0) return undefined
  const holding = chain.holdingEnd(floor)
  if (holding !== undefined && floor > holding.base && floor <= holding.cut) return holding
  const where = { segment: holding?.header.number ?? 0, offset: 0, lsn: floor }
  throw new CorruptionError('the floor lies in no live segment', where)
}

interface Prefix {
  readonly verifiedEnd: number
  readonly endBeforeBatch: number
  readonly bad: BadGroup | undefined
  /** The highest of the floor and of D in the groups that verify. */
  readonly evidence: number
  /** Whole batches of several groups whose end nothing proves durable. */
  readonly batches: readonly { readonly from: number; readonly to: number }[]
  /** Where in the chain the verification stopped. */
  readonly segment: LiveSegment
  readonly stoppedAt: number
}

async function verifyFrom(
  floor: number,
  first: LiveSegment,
  chain: LiveChain,
  window: Window,
): Promise<Prefix> {
  let segment = first
  let end = floor
  let at = floor
  let evidence = floor
  let batchFrom: number | undefined
  let batches: { from: number; to: number }[] = []
  const result = (bad: boolean): Prefix => ({
    verifiedEnd: end,
    endBeforeBatch: batchFrom ?? end,
    bad: bad ? { segment: segment.header.number, offset: at - segment.base, lsn: at } : undefined,
    evidence,
    batches,
    segment,
    stoppedAt: at,
  })
  for (;;) {
    if (at === segment.cut) {
      const next: LiveSegment | undefined = chain.segments[chain.indexOf(segment) + 1]
      if (next === undefined) return result(false)
      segment = next
      at = next.base + chain.alignment
    }
    const group = await wholeGroup(segment, at, chain, window)
    const follows = group !== undefined && group.previousEnd === end
    if (!follows || !continuesBatch(batchFrom !== undefined, group.batch)) return result(true)
    if (group.batch === BATCH_FIRST) batchFrom = end
    evidence = Math.max(evidence, group.durableLsn)
    end = groupEnd(group, chain.alignment)
    if (group.batch === BATCH_LAST && batchFrom !== undefined) {
      batches = batches.filter(({ to }) => to > evidence)
      batches.push({ from: batchFrom, to: end })
      batchFrom = undefined
    }
    at = end
  }
}

function continuesBatch(inside: boolean, part: number): boolean {
  return inside
    ? part === BATCH_MIDDLE || part === BATCH_LAST
    : part === BATCH_NONE || part === BATCH_FIRST
}

/**
 * The group at an LSN, if it verifies as a whole and ends within its segment's cut.
 * @throws ERR_RIOLOG_FUTURE_VERSION
 */
async function wholeGroup(
  segment: LiveSegment,
  lsn: number,
  chain: LiveChain,
  window: Window,
): Promise<GroupInfo | undefined> {
  const { base, cut, file, header } = segment
  const place = { salt: header.salt, lsn }
  const { found } = await window.group(file, lsn - base, place, chain.maxGroup, cut - base)
  if (found.kind === 'future') throw futureRecord(header.number, lsn)
  return found.kind === 'whole' ? found.group : undefined
}

/**
 * The highest durable LSN that any header names from where the verification stopped to the end of the
 * chain. Every aligned block is looked at: evidence is never skipped to read less.
 */
async function findEvidence(prefix: Prefix, chain: LiveChain, window: Window): Promise<number> {
  const { alignment, maxGroup } = chain
  let { evidence } = prefix
  for (const segment of chain.segments.slice(chain.indexOf(prefix.segment))) {
    const from = segment === prefix.segment ? prefix.stoppedAt : segment.base + alignment
    const { salt } = segment.header
    const limit = segment.cut - segment.base
    for (let lsn = from; lsn < segment.cut; lsn += alignment) {
      const bytes = await window.load(segment.file, lsn - segment.base, alignment, limit)
      const group = readGroupHeader(bytes, 0, { salt, lsn }, maxGroup)
      if (group !== undefined) evidence = Math.max(evidence, group.durableLsn)
    }
  }
  return evidence
}
