import type { Logger } from 'pino'
import { z } from 'zod'
import { RiologError } from '../errors.ts'
import {
  DEFAULT_SEGMENT_SIZE,
  isPowerOfTwo,
  MAX_SEGMENT_SIZE,
  MIN_SEGMENT_SIZE,
} from '../segment/format.ts'
import { KIB, MIB } from '../units.ts'

/** The options of `Log.open`. Another name than these, or a value out of range, is ERR_RIOLOG_INVALID_OPTION. */
export interface LogOptions {
  /**
   * LSN space of a segment in bytes, a power of two from 64 KiB to 16 GiB; 64 MiB. Counts when the log is
   * created: later the log's own does, and another one is an error.
   */
  segmentSize?: number | undefined
  /**
   * How the disk is reached: by io_uring, by libuv's thread pool, or `auto`: by io_uring where it can be had,
   * and otherwise by the thread pool, with one warning a process (`RIOLOG_THREADPOOL`); auto.
   */
  engine?: 'auto' | 'uring' | 'threadpool' | undefined
  /** Makes the directory and the log if they are not there; true. */
  create?: boolean | undefined
  /**
   * Opens only if nobody has opened the log for writing since the opening of this epoch
   * (`log.info().epoch`), else ERR_RIOLOG_FENCED; 0 is a log that nobody has opened yet; none.
   */
  expectedEpoch?: number | undefined
  /** Reads only: takes no lock, writes nothing, shows what is proven durable; false. */
  readOnly?: boolean | undefined
  /**
   * The most memory for records that are not yet durable, in bytes, at least 2 MiB; 16 MiB. The longest
   * record and the longest batch have to fit into it, and into one segment.
   */
  maxBufferedBytes?: number | undefined
  /**
   * The longest group that one commit writes, in bytes, from 4 KiB to 1 MiB; 1 MiB. A longer record has one
   * of its own, or several.
   */
  maxGroupBytes?: number | undefined
  /**
   * How a commit becomes durable: `fdatasync` behind each write, or `dsync` (RWF_DSYNC, pwritev2(2)).
   * `auto` takes the one whose commits are faster just now, and compares them again now and then; `dsync` only
   * on ext4 and XFS, which keep it in the kernel itself. `log.info().commits` tells. Where a file system has no
   * RWF_DSYNC, `dsync` poisons at the first commit (EOPNOTSUPP); auto.
   */
  sync?: 'auto' | 'fdatasync' | 'dsync' | undefined
  /**
   * Whether the thread's event loop asks for a commit's completion again and again while one is awaited, for up to a
   * millisecond, instead of sleeping until it is woken. Timers and sockets are served either way, other threads and
   * processes go first (sched_yield(2)); it costs a CPU that would have been idle. `auto` polls where that makes commits
   * faster by a tenth or more, compares again now and then, and never does under a quota of CPU time (cgroups(7));
   * `log.info().commits` tells. Where it polls for commits it does for `read`, too. docs/GUIDE.md says when it pays; never.
   */
  busyPoll?: 'auto' | 'always' | 'never' | undefined
  /**
   * Commits that the disk may have at once, from 1 to 16. By default 1, but 4 for groups that ran full at
   * 512 KiB or more: so it was the fastest on the disks that we measured. What comes back good counts only
   * when those beside it do.
   */
  commitsInFlight?: number | undefined
  /**
   * Whether callers and the disk work at the same time, half of the callers on the disk while the others go on, or
   * in turns, all of them sharing each commit. `auto` tries both where what callers do between two appends takes longer
   * than three quarters of a commit, and takes the faster one; auto.
   */
  overlap?: 'auto' | 'always' | 'never' | undefined
  /**
   * How long an idle disk waits for more records to share a commit, in milliseconds, up to 1000; 0: not at
   * all. A flush ends the wait.
   */
  maxDelayMs?: number | undefined
  /**
   * After so long without an append, in milliseconds, the manifest is told how far the log is durable:
   * from then on damage to the last records, too, is told from a torn tail. So it is twice in each segment, for an
   * opening reads the records behind what the manifest was told. 0: neither; 1000.
   */
  idleStampMs?: number | undefined
  /**
   * Files of segments that were trimmed or rewound, kept to become new ones, at most; 2. Appending then
   * allocates nothing at a rotation. 0: they are deleted.
   */
  recycledSegments?: number | undefined
  /**
   * New files full of zeros that are kept ready for a burst, at most, beside the next segment and the recycled ones; 2. They are made
   * only by a log that has filled segments faster than zeros can be written, and when it does not: as many as fell
   * behind, of 256 MiB together at most. 0: none.
   */
  zeroedSegments?: number | undefined
  /**
   * The disk has answered nothing for so long, in milliseconds, while somebody waits for it: the log is
   * poisoned, and all who wait are told. 0: they wait for ever; 0.
   */
  commitTimeoutMs?: number | undefined
  /** How long to wait for a lock whose holder is dying, in milliseconds; 2000. */
  lockWaitMs?: number | undefined
  /**
   * Bytes of the user's for the header of each segment that this opening begins, to be found in
   * `log.info()`. At most the header block's rest: 4000 where the alignment is 4096; none.
   */
  metadata?: Uint8Array | undefined
  /** Compresses each record that becomes shorter by it (raw deflate); none. Any opening reads both. */
  compression?: 'none' | 'deflate' | undefined
  /**
   * Encrypts each record (AES-256-GCM); none. docs/DURABILITY.md says what that protects and what it
   * does not.
   */
  encryption?: EncryptionOptions | undefined
  /** Permissions of new files; 0600. */
  mode?: number | undefined
  /** Permissions of new directories; 0700. */
  directoryMode?: number | undefined
  /** A pino logger (or one with its methods); silent without. */
  logger?: Logger | undefined
}

/** The option `encryption`: where the keys of a log come from. */
export interface EncryptionOptions {
  /** Names the key for new records, a 32-bit number; older records name theirs. */
  keyId: number
  /** The key of an id: 32 bytes, or undefined. Called once for each id and opening. */
  key: (id: number) => Uint8Array | undefined
  /** Shows records that are not encrypted, too; false. */
  acceptPlain?: boolean | undefined
}

const mode = z.number().int().min(0).max(0o777)

const isLogger = (value: unknown): value is Logger =>
  typeof value === 'object' && value !== null && typeof (value as Logger).warn === 'function'

const isFunction = (value: unknown) => typeof value === 'function'

/** The rules of {@link LogOptions}. */
const schema = z.strictObject({
  segmentSize: z
    .number()
    .min(MIN_SEGMENT_SIZE)
    .max(MAX_SEGMENT_SIZE)
    .refine(isPowerOfTwo, 'must be a power of two')
    .optional(),
  engine: z.enum(['auto', 'uring', 'threadpool']).default('auto'),
  create: z.boolean().default(true),
  expectedEpoch: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  readOnly: z.boolean().default(false),
  maxBufferedBytes: z
    .number()
    .int()
    .min(2 * MIB)
    .default(16 * MIB),
  maxGroupBytes: z
    .number()
    .int()
    .min(4 * KIB)
    .max(MIB)
    .default(MIB),
  sync: z.enum(['auto', 'fdatasync', 'dsync']).default('auto'),
  busyPoll: z.enum(['auto', 'always', 'never']).default('never'),
  commitsInFlight: z.number().int().min(1).max(16).optional(),
  overlap: z.enum(['auto', 'always', 'never']).default('auto'),
  maxDelayMs: z.number().min(0).max(1000).default(0),
  idleStampMs: z.number().min(0).default(1000),
  recycledSegments: z.number().int().min(0).max(1024).default(2),
  zeroedSegments: z.number().int().min(0).max(1024).default(2),
  commitTimeoutMs: z
    .number()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  lockWaitMs: z.number().min(0).default(2000),
  metadata: z
    .custom<Uint8Array>(value => value instanceof Uint8Array, 'must be a Uint8Array')
    .transform(bytes => Uint8Array.from(bytes))
    .default(new Uint8Array()),
  compression: z.enum(['none', 'deflate']).default('none'),
  encryption: z
    .strictObject({
      keyId: z.number().int().min(0).max(0xffffffff),
      key: z.custom<(id: number) => Uint8Array | undefined>(isFunction, 'must be a function'),
      acceptPlain: z.boolean().default(false),
    })
    .optional(),
  mode: mode.default(0o600),
  directoryMode: mode.default(0o700),
  logger: z.custom<Logger>(isLogger, 'must have the methods of a pino logger').optional(),
}) satisfies z.ZodType<unknown, LogOptions>

export type CheckedOptions = z.output<typeof schema>

/** The options of `Replica.open`: of {@link LogOptions} those that concern files; the rest is the source's. */
export interface ReplicaOptions
  extends Pick<
    LogOptions,
    | 'engine'
    | 'mode'
    | 'directoryMode'
    | 'lockWaitMs'
    | 'recycledSegments'
    | 'idleStampMs'
    | 'commitTimeoutMs'
    | 'logger'
  > {}

const replicaSchema = schema.pick({
  engine: true,
  mode: true,
  directoryMode: true,
  lockWaitMs: true,
  recycledSegments: true,
  idleStampMs: true,
  commitTimeoutMs: true,
  logger: true,
}) satisfies z.ZodType<unknown, ReplicaOptions>

/** @throws ERR_RIOLOG_INVALID_OPTION, naming each option that is wrong */
export function checkOptions(options: unknown): CheckedOptions {
  return check(schema, options)
}

/** The same; what is not for a replica is as by default. */
export function checkReplicaOptions(options: unknown): CheckedOptions {
  return { ...check(schema, {}), ...check(replicaSchema, options) }
}

function check<S extends z.ZodType>(kind: S, options: unknown): z.output<S> {
  const checked = kind.safeParse(options ?? {})
  if (checked.success) return checked.data
  const message = checked.error.issues
    .map(issue => [issue.path.join('.'), issue.message].filter(Boolean).join(': '))
    .join('; ')
  throw new RiologError('ERR_RIOLOG_INVALID_OPTION', message, { cause: checked.error })
}

export { DEFAULT_SEGMENT_SIZE }
