/** A record as its readers see it: whole and unpacked. */
export interface LogRecord {
  /** Its place. */
  readonly lsn: number
  /** Its bytes: a copy, or by `scanBatches` a view. */
  readonly data: Buffer
}
