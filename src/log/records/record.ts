import type { SegmentHeader } from '../../segment/header.ts'

/** A record as its readers see it: whole and unpacked. */
export interface LogRecord {
  /** Its place. */
  readonly lsn: number
  /** Its bytes: a copy, or by `scanBatches` a view. */
  readonly data: Buffer
}

/** Where a record or fragment stands. */
export interface RecordPlace {
  readonly header: SegmentHeader
  readonly lsn: number
}
