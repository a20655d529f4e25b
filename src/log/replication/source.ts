/** What a log offers those who copy it: its groups as they are, and word of what has become durable. */
import { RiologError } from '../../errors.ts'
import { Listeners } from '../listeners.ts'
import type { Reader } from '../reading/reader.ts'
import type { LiveChain, LiveSegment } from '../segments/live-chain.ts'
import type { Manifest } from '../segments/manifest.ts'
import { diverged, type RawChunk } from './raw-chunk.ts'
import { RawReader } from './raw-reader.ts'

/** The options of `log.readRaw`. */
export interface RawOptions {
  /** The most bytes of groups, but for one group and for a batch, which are not cut; 4 MiB. */
  readonly maxBytes?: number | undefined
  /** `replica.hash`: what the copy has before that end. Another one is refused. */
  readonly hash?: string | undefined
}

/** The options of `log.tailRaw`. */
export interface RawTailOptions extends RawOptions {
  /** The end of what the copy has: `replica.end`; 0: nothing. */
  readonly from: number
  /** Ends it with ERR_RIOLOG_CANCELED. */
  readonly signal?: AbortSignal
  /** How often a read-only log looks for more, in milliseconds; 20. */
  readonly pollMs?: number
}

/** A segment in which nothing is written any more. */
export interface SealedSegment {
  /** Its number: its file is named by it. */
  readonly number: number
  /** The opening that made it. */
  readonly epoch: number
  /** Where its first group stands. */
  readonly firstLsn: number
  /** Where its last group ends; a rewind can lower that. */
  readonly endLsn: number
}

export const DEFAULT_RAW_BYTES = 4 << 20

/** A log as it is seen now. */
export interface RawView {
  readonly chain: LiveChain
  readonly reader: Reader
  readonly manifest: Manifest
}

/** @throws what `log.readRaw` documents */
export async function readRaw(
  view: RawView,
  from: number,
  { maxBytes = DEFAULT_RAW_BYTES, hash }: RawOptions,
): Promise<RawChunk | undefined> {
  const { reader, manifest } = view
  const raw = new RawReader(view.chain, reader)
  if (hash !== undefined && from !== 0) await refuseOther(raw, from, hash)
  // Of the moment in which the place is looked for: groups of before a rewind have nothing to do with a trim behind it.
  const { trimLsn } = reader
  const found = await raw.behind(from, maxBytes)
  const { uuid, epoch } = manifest
  const { durableLsn } = reader
  return found && { uuid, epoch, ...found, durableLsn, trimLsn }
}

/** Where a rewind has dropped the place there is nothing to compare; what comes next leads back. */
async function refuseOther(raw: RawReader, end: number, hash: string): Promise<void> {
  try {
    if ((await raw.hashAt(end)) === hash) return
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (code === 'ERR_RIOLOG_REWOUND') return
    // The segment that comes next names the one that is gone.
    if (code === 'ERR_RIOLOG_TRIMMED' && end === raw.oldestLink) return
    if (!(error instanceof RiologError) || code !== 'ERR_RIOLOG_NOT_FOUND') throw error
  }
  throw diverged(`other bytes stand before LSN ${end}`)
}

/** Tells of durable LSNs, and of segments that are behind them as a whole. */
export class DurableEvents {
  readonly durable = new Listeners<number>({ latestAlone: true })
  readonly sealed = new Listeners<SealedSegment>()
  readonly #chain: LiveChain
  #current: LiveSegment | undefined

  /** @param chain as it was found at opening */
  constructor(chain: LiveChain) {
    this.#chain = chain
    this.#current = chain.segments.at(-1)
  }

  moved(durableLsn: number): void {
    if (!this.durable.tell(durableLsn)) return
    const { segments } = this.#chain
    // One of the last two, but behind a batch that began before a rotation.
    let at = segments.length - 1
    while (at >= 0 && (segments[at].firstGroupEnd ?? Infinity) > durableLsn) at--
    if (segments[at] === this.#current) return
    const before = this.#current === undefined ? -1 : segments.indexOf(this.#current)
    this.#current = segments[at]
    // Of one that a rewind has dropped nothing is known: then the one before is told alone.
    const first = before < 0 || before >= at ? at - 1 : before
    const sealed = segments.slice(Math.max(0, first), Math.max(0, at))
    for (const segment of sealed.map(each => this.#sealed(each))) this.sealed.tell(segment)
  }

  #sealed({ header, base, cut }: LiveSegment): SealedSegment {
    const { number, epoch } = header
    return { number, epoch, firstLsn: base + this.#chain.alignment, endLsn: cut }
  }
}
