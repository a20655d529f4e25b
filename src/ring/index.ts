/// <reference types="node" preserve="true" />
/** The raw ring: `import { Ring } from 'riolog/ring'`. */
export { RiologError, SystemError } from '../errors.ts'
export { FALLOC, MSG, POLL, RWF, SYNC_FILE_RANGE } from './abi.ts'
export type { AddressLike, InternetAddress, SocketAddress, UnixAddress } from './address.ts'
export type { Batch } from './batch.ts'
export type { BufferGroup } from './buffer-group.ts'
export { type Chain, ChainError, type ChainOptions } from './chain.ts'
export type { Completion } from './completion.ts'
export type { FileLike, HasFd, RegisteredFile, RingFile } from './handle.ts'
export { IoBuffer } from './io-buffer.ts'
export type { RingMessage } from './messages.ts'
export type { Multishot } from './multishot.ts'
export type { Bytes } from './prepare/check.ts'
export type { Advice, CancelSelection, SpliceOptions } from './prepare/control.ts'
export type { Datagram, MessageOptions, SendOptions, ShutdownHow } from './prepare/net.ts'
export type {
  MkdirOptions,
  OpenOptions,
  Path,
  StatxOptions,
  TwoPathOptions,
  UnlinkOptions,
} from './prepare/paths.ts'
export type { Statx } from './prepare/statx.ts'
export type { SyncRangeOptions, TransferOptions, VectorOptions } from './prepare/transfer.ts'
export type { RingProfile } from './profile.ts'
export type { OperationOptions } from './request.ts'
export { Ring, type RingOptions, type RingProbe, SETUP, type SqPollOptions } from './ring.ts'
export type {
  DatagramOptions,
  DatagramSocket,
  ListeningSocket,
  ListenOptions,
  SocketOption,
  StreamSocket,
} from './sockets.ts'
