/** What the dimensions of a log and the memory of its writer allow. */
import { maxGroupBytes } from '../../segment/format.ts'
import { type Dimensions, longestRecord } from './batch-layout.ts'

export interface Limits {
  readonly dimensions: Dimensions
  /** Groups that memory has room for, those on their way to the disk included. */
  readonly groupCount: number
  /** The longest record that is taken, in bytes. */
  readonly maxRecordBytes: number
}

/**
 * @param maxBufferedBytes memory for groups that are not yet durable
 * @param overhead bytes that sealing adds to each record or fragment
 */
export function limitsOf(
  { segmentSize, alignment }: { readonly segmentSize: number; readonly alignment: number },
  maxBufferedBytes: number,
  overhead: number,
): Limits {
  const maxGroup = maxGroupBytes(segmentSize, alignment)
  const dimensions = { alignment, maxGroup, overhead }
  // One fills while one is in flight.
  const groupCount = Math.max(2, Math.floor(maxBufferedBytes / maxGroup))
  // A batch may begin behind a part of a segment, which takes a group more than a fresh one.
  const maxRecordBytes = longestRecord(groupCount - 1, segmentSize - alignment, dimensions)
  return { dimensions, groupCount, maxRecordBytes }
}
