/** A value that is in the log only: where to read it. */
export interface Stored {
  readonly lsn: number
  /** Where in the record. */
  readonly offset: number
  readonly length: number
}

/** A short value is in memory, a long one stays in the log. */
export type Value = Buffer | Stored

export function isStored(value: Value | undefined): value is Stored {
  return value !== undefined && !(value instanceof Uint8Array)
}
