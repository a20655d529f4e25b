/** A record as its readers see it: whole, unpacked, and a copy. */
export interface LogRecord {
  readonly lsn: number
  readonly data: Buffer
}
