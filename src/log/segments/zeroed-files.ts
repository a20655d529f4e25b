/**
 * Files full of zeros, beside the segment that is prepared. Who fills segments faster than zeros can be written does so in
 * bursts as a rule: behind the first burst as many files are made as fell behind in it, while nobody streams, and the next
 * one finds them in the pool. Nothing names them and they have no header, so that to any opening they are dead files.
 */
import { MIB } from '../../units.ts'
import type { ManifestFile } from './manifest-file.ts'
import type { Haste } from './segment-file.ts'
import { Abandoned, isHarmless, type SegmentMaker } from './segment-maker.ts'

/** All of them together; where one segment is longer, what is prepared is as much as a burst needs. */
const MOST_BYTES = 256 * MIB

export interface ZeroedFilesParts {
  readonly maker: SegmentMaker
  readonly manifest: ManifestFile
  /** The most files. */
  readonly most: number
  /** Resolves when a piece may be written: others go first, a stream and a segment that is being prepared among them. */
  readonly turn: () => Promise<void>
  /** The disk has done a piece of what it was asked for. */
  readonly onAnswered: () => void
  /** What the disk holds is in doubt: the log must be poisoned. */
  readonly onFailed: (error: unknown) => void
}

export class ZeroedFiles {
  readonly #parts: ZeroedFilesParts
  readonly #most: number
  #wanted = 0
  /** `maker.recycledFiles` when it was last looked at. */
  #recycledBefore = 0
  #making: Promise<void> | undefined
  #stopped = false
  #poisoned = false

  constructor(parts: ZeroedFilesParts) {
    this.#parts = parts
    const { segmentSize } = parts.manifest.current
    this.#most = Math.min(parts.most, Math.floor(MOST_BYTES / segmentSize))
  }

  /** A segment of full length was filled faster than the zeros of the next one were written. */
  fellBehind(): void {
    this.#wanted = Math.min(this.#wanted + 1, this.#most)
  }

  /** Makes what the pool lacks, beside everything else. */
  makeUp(): void {
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined
    })
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#making
  }

  /** What is being made ends at its next step; after a poison its file is left as it is. */
  stop({ poisoned }: { readonly poisoned: boolean }): void {
    this.#stopped = true
    this.#poisoned ||= poisoned
  }

  async #make(): Promise<void> {
    const { maker, manifest, turn, onFailed } = this.#parts
    const step = () => this.#step()
    try {
      while (this.#lacks()) {
        // A log that is trimmed gets its files from there: of those behind a burst, the last one may be on its way.
        await turn()
        const recycles = maker.recycledFiles > this.#recycledBefore
        this.#recycledBefore = maker.recycledFiles
        if (recycles || !this.#lacks()) return
        await maker.prepareZeroed(manifest.current, step)
      }
    } catch (error) {
      if (error instanceof Abandoned) return
      // There is no room for more than is needed: not tried again, until zeros fall behind once more.
      if (isHarmless(error)) this.#wanted = 0
      else onFailed(error)
    }
  }

  #lacks(): boolean {
    return !this.#stopped && this.#parts.maker.pooledFiles < this.#wanted
  }

  async #step(): Promise<Haste> {
    const { turn, onAnswered } = this.#parts
    onAnswered()
    await turn()
    if (this.#stopped) throw new Abandoned(this.#poisoned)
    return 'none'
  }
}
