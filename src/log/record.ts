/** A record as its readers see it: whole, unpacked, and a copy. */
export interface LogRecord {
  /** Its place. */
  readonly lsn: number
  /** Its bytes, a copy. */
  readonly data: Buffer
}
