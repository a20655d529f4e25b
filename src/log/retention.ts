/** What a log gives up: trims and rewinds, one at a time, the pins that hold trims back, and files that are dead then. */
import { RiologError } from '../errors.ts'
import type { Writer } from './commit/writer.ts'
import { type Pin, Pins } from './pins.ts'
import type { Reader } from './reading/reader.ts'
import { deadOf, type LiveChain } from './segments/live-chain.ts'
import type { ManifestFile } from './segments/manifest-file.ts'
import type { DeadSegment, RecyclePool } from './segments/recycle-pool.ts'

export interface RetentionParts {
  readonly writer: Writer
  readonly reader: Reader
  readonly manifest: ManifestFile
  readonly chain: LiveChain
  readonly pool: RecyclePool
}

export class Retention {
  readonly #parts: RetentionParts
  readonly #pins = new Pins()
  /** Where to: what lies before it cannot be held any more, though the manifest does not say so yet. */
  #trimmingTo = 0
  #changing: Promise<void> = Promise.resolve()
  #sweeping: Promise<void> = Promise.resolve()

  constructor(parts: RetentionParts) {
    this.#parts = parts
  }

  get #trimLsn(): number {
    return this.#parts.manifest.current.trimLsn
  }

  /**
   * Gives up the records before an LSN, as far as pins let it; resolves to the LSN that the log is trimmed to.
   * @throws ERR_RIOLOG_POISONED
   */
  trim(lsn: number): Promise<number> {
    return this.#inTurn(async () => {
      await this.#trimTo(this.#pins.limit(lsn, this.#parts.writer.durableLsn))
      return this.#trimLsn
    })
  }

  async #trimTo(lsn: number): Promise<void> {
    if (lsn <= this.#trimLsn) return
    const { writer, chain, manifest } = this.#parts
    this.#trimmingTo = lsn
    await writer.updateManifest(() => ({ trimLsn: lsn }))
    const { trimLsn, floor } = manifest.current
    await this.#bury(deadOf(chain.retireBefore(trimLsn, floor)))
  }

  /** @throws ERR_RIOLOG_TRIMMED */
  pin(name: string, lsn: number, maxBytes: number): Pin {
    if (lsn < Math.max(this.#trimLsn, this.#trimmingTo)) {
      const message = `LSN ${lsn} was trimmed; oldest: ${this.#trimLsn}`
      throw new RiologError('ERR_RIOLOG_TRIMMED', message)
    }
    return this.#pins.add(name, lsn, maxBytes)
  }

  /**
   * Drops the record at an LSN and all behind it. The caller has paused the writer.
   * @throws what `Writer.rewind` and `Reader.cutBefore` throw
   */
  rewind(lsn: number): Promise<void> {
    const { writer, reader } = this.#parts
    return this.#inTurn(async () => {
      const cutOf = async () => (lsn === writer.durableLsn ? lsn : reader.cutBefore(lsn))
      await this.#bury(await writer.rewind(cutOf))
    })
  }

  /** Takes away files that no manifest copy reaches any more, left by earlier openings. */
  sweep(numbers: readonly number[]): void {
    this.#sweeping = this.#bury(numbers.map(number => ({ number, busy: false })))
  }

  /** Resolves when no trim and no rewind is under way. */
  async changed(): Promise<void> {
    await this.#changing
  }

  /** Resolves when the files of {@link sweep} are gone. */
  async swept(): Promise<void> {
    await this.#sweeping
  }

  /** Trims and rewinds run one at a time. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const running = this.#changing.then(run)
    this.#changing = running.then(
      () => {},
      () => {},
    )
    return running
  }

  /** Not after a poison: what the manifest says is undecided then. */
  async #bury(segments: readonly DeadSegment[]): Promise<void> {
    const { writer, pool } = this.#parts
    for (const segment of segments) {
      if (writer.poison !== undefined) return
      // Appends may wait for it, and each answer of the disk counts.
      await writer.orPoisoned(pool.bury(segment)).catch(() => {})
    }
  }
}
