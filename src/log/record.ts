/** A record as its readers see it. */

export interface LogRecord {
  readonly lsn: number
  readonly data: Buffer
}

/** Where the bytes of a record stand: `from` to `to`, in the bytes of its group. */
export interface RecordPlace {
  readonly lsn: number
  readonly from: number
  readonly to: number
}

/**
 * The record at a place whose bytes have been verified. Whatever reads records, of a group or alone,
 * goes through here. The data is a copy: the bytes are those of a window, and last no longer.
 */
export function decodeRecord(bytes: Uint8Array, { lsn, from, to }: RecordPlace): LogRecord {
  return { lsn, data: Buffer.from(bytes.subarray(from, to)) }
}
