/// <reference types="node" preserve="true" />
/** The log: `import { Log } from 'riolog'`. The raw ring is `riolog/ring`. */
export type { EngineName } from './disk/disk.ts'
export {
  CorruptionError,
  ERROR_CODES,
  type ErrorCode,
  PoisonedError,
  RiologError,
  SystemError,
} from './errors.ts'
export type { WhenDurable } from './log/commit/waiters.ts'
export { Log, type LogInfo, type ScanOptions, type TailOptions } from './log/log.ts'
export type { CommitEvent, Distribution, LogMetrics } from './log/metrics.ts'
export type { EncryptionOptions, LogOptions, ReplicaOptions } from './log/options.ts'
export type { Pin, PinOptions } from './log/pins.ts'
export type { LogRecord } from './log/records/record.ts'
export type { RecoveryReport } from './log/recovery/opening.ts'
export type { RawChunk } from './log/replication/raw-chunk.ts'
export { Replica } from './log/replication/replica.ts'
export type { RawOptions, RawTailOptions, SealedSegment } from './log/replication/source.ts'
export type { TraceContext } from './log/tracing.ts'
