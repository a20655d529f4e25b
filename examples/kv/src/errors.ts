export type KvErrorCode =
  /** What is stored contradicts itself: nothing is guessed, and nothing was written. */
  | 'ERR_KV_CORRUPT'
  /** Written by a newer version of this package. */
  | 'ERR_KV_FUTURE_VERSION'
  /** The checkpoint belongs to another log. */
  | 'ERR_KV_FOREIGN'
  /** The option `errorIfExists`, and there is one. */
  | 'ERR_KV_EXISTS'
  /** There is no store, and `createIfMissing` is false. */
  | 'ERR_KV_NOT_FOUND'
  | 'ERR_KV_INVALID_OPTION'
  /** A key has characters that are no bytes: it was not made by `keyOf`. */
  | 'ERR_KV_INVALID_KEY'

export class KvError extends Error {
  override readonly name = 'KvError'
  readonly code: KvErrorCode

  constructor(code: KvErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** True for an error with this code, of the store or of the log. */
export function hasCode(error: unknown, code: string): boolean {
  return (error as { code?: unknown } | undefined)?.code === code
}
