import { constants } from 'node:os'

/**
 * Every error that riolog throws on purpose is a {@link RiologError} with a `code` from this list.
 * docs/ERRORS.md names each code, when it comes and what to do; a test holds the two lists together.
 */
export const ERROR_CODES = [
  'ERR_RIOLOG_INVALID_ARGUMENT',
  'ERR_RIOLOG_INVALID_OPTION',
  'ERR_RIOLOG_NO_ADDON',
  'ERR_RIOLOG_NO_IO_URING',
  'ERR_RIOLOG_CHAIN_TOO_LONG',
  'ERR_RIOLOG_CHAIN_BROKEN',
  'ERR_RIOLOG_BUFFER_LENT',
  'ERR_RIOLOG_MISALIGNED',
  'ERR_RIOLOG_UNSUPPORTED',
  'ERR_RIOLOG_CANCELED',
  'ERR_RIOLOG_TIMEOUT',
  'ERR_RIOLOG_OUT_OF_MEMORY',
  'ERR_RIOLOG_SYSTEM',
  'ERR_RIOLOG_NO_SPACE',
  'ERR_RIOLOG_NO_LOG',
  'ERR_RIOLOG_NOT_A_DIRECTORY',
  'ERR_RIOLOG_LOCKED',
  'ERR_RIOLOG_FENCED',
  'ERR_RIOLOG_CLOSED',
  'ERR_RIOLOG_READ_ONLY',
  'ERR_RIOLOG_RECORD_TOO_LARGE',
  'ERR_RIOLOG_BATCH_TOO_LARGE',
  'ERR_RIOLOG_BACKPRESSURE',
  'ERR_RIOLOG_POISONED',
  'ERR_RIOLOG_CORRUPT',
  'ERR_RIOLOG_FOREIGN',
  'ERR_RIOLOG_FUTURE_VERSION',
  'ERR_RIOLOG_ALIGNMENT',
  'ERR_RIOLOG_NOT_FOUND',
  'ERR_RIOLOG_KEY',
  'ERR_RIOLOG_TRIMMED',
  'ERR_RIOLOG_REWOUND',
  'ERR_RIOLOG_LSN_EXHAUSTED',
  'ERR_RIOLOG_GAP',
  'ERR_RIOLOG_DIVERGED',
  'ERR_RIOLOG_CRASH_TEST',
] as const

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number]

/** What riolog throws on purpose; `code` tells what it is, and `cause` what lies behind it. */
export class RiologError extends Error {
  override readonly name: string = 'RiologError'
  /** What has happened: stable, and named in docs/ERRORS.md. */
  readonly code: ErrorCode

  /** @internal */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** A system call failed. `errno` and `syscall` are as in Node's own system errors. */
export class SystemError extends RiologError {
  override readonly name = 'SystemError'
  /** The negative errno, e.g. -28 for ENOSPC. */
  readonly errno: number
  /** The errno's name, e.g. `'ENOSPC'`. */
  readonly errnoName: string
  /** The system call that failed, e.g. `'write'`. */
  readonly syscall: string
  /** The path that it failed on, where there is one. */
  readonly path: string | undefined

  /** @internal */
  constructor(
    errno: number,
    syscall: string,
    path?: string,
    options?: ErrorOptions & { code?: ErrorCode; message?: string },
  ) {
    const name = errnoName(errno)
    const full = name === 'ENOSPC' || name === 'EDQUOT'
    const code = options?.code ?? (full ? 'ERR_RIOLOG_NO_SPACE' : 'ERR_RIOLOG_SYSTEM')
    const what = options?.message ?? `${syscall} failed: ${name}`
    super(code, `${what}${path === undefined ? '' : ` (${path})`}`, options)
    this.errno = errno
    this.errnoName = name
    this.syscall = syscall
    this.path = path
  }
}

/** Bytes that were once durable do not verify any more. Nothing has been written. */
export class CorruptionError extends RiologError {
  override readonly name = 'CorruptionError'
  /** The number of the segment, 0 when the damage is not in a segment. */
  readonly segment: number
  /** Where in the segment's file, in bytes. */
  readonly offset: number
  /** The place of the damage in the log. */
  readonly lsn: number

  /** @internal */
  constructor(message: string, where: { segment: number; offset: number; lsn: number }) {
    const place = `segment ${where.segment}, offset ${where.offset}, LSN ${where.lsn}`
    super('ERR_RIOLOG_CORRUPT', `${message} (${place})`)
    this.segment = where.segment
    this.offset = where.offset
    this.lsn = where.lsn
  }
}

/**
 * A write or sync failed in a way that leaves unknown what the disk holds; the log refuses all
 * further writes until it is reopened, which decides the undecided range by recovery.
 */
export class PoisonedError extends RiologError {
  override readonly name = 'PoisonedError'
  /** Everything before this LSN is durable. */
  readonly durableLsn: number
  /** From here to `undecidedTo` records may or may not be found at the next opening. */
  readonly undecidedFrom: number
  /** Where the undecided range ends. */
  readonly undecidedTo: number

  /** @internal */
  constructor(durableLsn: number, undecidedTo: number, cause: unknown) {
    super(
      'ERR_RIOLOG_POISONED',
      `the log refuses writes after a failed write or sync; durable up to LSN ${durableLsn}, ` +
        `undecided up to LSN ${undecidedTo}: reopen it to recover`,
      { cause },
    )
    this.durableLsn = durableLsn
    this.undecidedFrom = durableLsn
    this.undecidedTo = undecidedTo
  }
}

export function invalidArgument(message: string): RiologError {
  return new RiologError('ERR_RIOLOG_INVALID_ARGUMENT', message)
}

export function logClosed(): RiologError {
  return new RiologError('ERR_RIOLOG_CLOSED', 'the log is closed')
}

/** Of two names for one number the first counts: EAGAIN, not EWOULDBLOCK. */
const NAMES = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number, name]),
)

/** The name of an errno, positive or negative: `'EIO'`, or `'errno 1234'` for one without a name. */
export function errnoName(errno: number): string {
  return NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`
}

/** Turns an error of node:fs into a {@link SystemError}; anything else comes back as it is. */
export function fromNodeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof RiologError) return error
  const { errno, syscall, path } = error as NodeJS.ErrnoException
  if (typeof errno !== 'number') return error
  return new SystemError(errno, syscall ?? 'unknown', path, { cause: error })
}

export function isErrno(error: unknown, ...names: string[]): boolean {
  return error instanceof SystemError && names.includes(error.errnoName)
}
