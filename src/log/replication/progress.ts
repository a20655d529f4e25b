/** How far a copy has got. */
import { BATCH_FIRST, BATCH_LAST } from '../../segment/group.ts'
import type { ChunkGroup } from './raw-chunk.ts'

export interface Progress {
  /** The end of what is durable, also of a batch whose last group has not come. */
  readonly end: number
  /** The same, but never inside a batch. */
  readonly durableLsn: number
  readonly insideBatch: boolean
  /** What stands before the end; undefined: nothing. */
  readonly hash: string | undefined
}

export const NOTHING: Progress = { end: 0, durableLsn: 0, insideBatch: false, hash: undefined }

/**
 * One group further. A batch counts as a whole; one whose beginning the source had trimmed away before the
 * copy began has only its end here.
 */
export function behind(before: Progress, { end, batch, hash }: ChunkGroup): Progress {
  const insideBatch = batch !== BATCH_LAST && (batch === BATCH_FIRST || before.insideBatch)
  return { end, durableLsn: insideBatch ? before.durableLsn : end, insideBatch, hash }
}
