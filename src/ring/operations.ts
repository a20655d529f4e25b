import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_LINKAT,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_RENAMEAT,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
} from './abi.ts'
import type { AddressLike } from './address.ts'
import type { Batch } from './batch.ts'
import type { Chain } from './chain.ts'
import type { Completion } from './completion.ts'
import type { FileLike, RingFile } from './handle.ts'
import type { IoBuffer } from './io-buffer.ts'
import { type Bytes, lookUp } from './prepare/check.ts'
import * as control from './prepare/control.ts'
import * as net from './prepare/net.ts'
import * as paths from './prepare/paths.ts'
import type { Statx } from './prepare/statx.ts'
import * as transfer from './prepare/transfer.ts'
import type { OperationOptions, Request, RequestContext } from './request.ts'
import { DatagramSocket, type ListeningSocket, StreamSocket } from './sockets.ts'

/** Who takes operations: a ring runs each, a chain or a batch collects them. */
export type Taker = 'ring' | 'batch' | readonly unknown[]

/** What a method gives: a ring a completion of the value, a chain itself with one value more. */
export type Taken<K extends Taker, T> = K extends 'ring'
  ? Completion<T>
  : K extends 'batch'
    ? T extends object
      ? never
      : Batch
    : K extends readonly unknown[]
      ? Chain<[...K, T]>
      : never

/**
 * Every operation, once for `Ring`, `Chain` and `Batch`. Arguments are checked before anything is
 * queued: a bad one throws ERR_RIOLOG_INVALID_ARGUMENT, a buffer that is in use
 * ERR_RIOLOG_BUFFER_LENT, an operation that the kernel lacks ERR_RIOLOG_UNSUPPORTED. What the kernel
 * refuses is a SystemError of the completion.
 */
export abstract class Operations<K extends Taker> {
  /** @internal */
  protected abstract readonly context: RequestContext
  /** @internal */
  protected abstract take<T>(request: Request<T>): Taken<K, T>

  // ---- bytes of files ----

  /**
   * Reads at a place (pread(2)). Gives the number of bytes: fewer than asked at the end of the file.
   * @throws ERR_RIOLOG_MISALIGNED on a file that is open for direct I/O
   */
  readAt(
    file: FileLike,
    into: Bytes,
    offset: number,
    options?: transfer.TransferOptions,
  ): Taken<K, number> {
    return this.take(transfer.transfer(this.context, IORING_OP_READ, file, into, offset, options))
  }

  /**
   * Writes at a place (pwrite(2)). Gives the number of bytes, which the kernel may make fewer than
   * asked. An array may be changed at once after the call; a lent buffer cannot.
   * @throws ERR_RIOLOG_MISALIGNED on a file that is open for direct I/O
   */
  writeAt(
    file: FileLike,
    from: Bytes,
    offset: number,
    options?: transfer.TransferOptions,
  ): Taken<K, number> {
    return this.take(transfer.transfer(this.context, IORING_OP_WRITE, file, from, offset, options))
  }

  /** Reads into several buffers, one after the other (preadv(2)). */
  readv(
    file: FileLike,
    into: readonly Bytes[],
    offset: number,
    options?: transfer.VectorOptions,
  ): Taken<K, number> {
    return this.take(transfer.vector(this.context, IORING_OP_READV, file, into, offset, options))
  }

  /** Writes several buffers, one after the other (pwritev(2)). */
  writev(
    file: FileLike,
    from: readonly Bytes[],
    offset: number,
    options?: transfer.VectorOptions,
  ): Taken<K, number> {
    return this.take(transfer.vector(this.context, IORING_OP_WRITEV, file, from, offset, options))
  }

  /** Makes bytes and metadata durable (fsync(2)): of what had completed before, and no more. */
  fsync(file: FileLike, options?: OperationOptions): Taken<K, void> {
    return this.take(transfer.sync(this.context, file, 0, options))
  }

  /** Makes bytes durable, and the metadata that it takes to read them (fdatasync(2)). */
  fdatasync(file: FileLike, options?: OperationOptions): Taken<K, void> {
    return this.take(transfer.sync(this.context, file, IORING_FSYNC_DATASYNC, options))
  }

  /** Starts or awaits write-back of a range. Not durability: no metadata, no flush of the disk's
   *  cache (sync_file_range(2), "Warning"). */
  syncFileRange(file: FileLike, options?: transfer.SyncRangeOptions): Taken<K, void> {
    return this.take(transfer.syncFileRange(this.context, file, options))
  }

  /** Allocates, punches or zeroes a range (fallocate(2)). @param mode `FALLOC` flags; 0 allocates */
  fallocate(
    file: FileLike,
    mode: number,
    offset: number,
    length: number,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(transfer.fallocate(this.context, file, mode, offset, length, options))
  }

  /** Makes the file so many bytes long (ftruncate(2), Linux 6.9). */
  ftruncate(file: FileLike, length: number, options?: OperationOptions): Taken<K, void> {
    return this.take(transfer.ftruncate(this.context, file, length, options))
  }

  /** Tells how a range will be used (posix_fadvise(2)). @param length bytes; 0: up to the end */
  fadvise(
    file: FileLike,
    offset: number,
    length: number,
    advice: control.Advice,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(control.fadvise(this.context, file, offset, length, advice, options))
  }

  /** The same for a buffer's memory (madvise(2)): `dontNeed` zeroes it and gives the pages back. */
  madvise(buffer: IoBuffer, advice: control.Advice, options?: OperationOptions): Taken<K, void> {
    return this.take(control.madvise(this.context, buffer, advice, options))
  }

  // ---- names ----

  /** Opens a file (openat(2)); close it with its own `close()`. */
  openat(path: paths.Path, options?: paths.OpenOptions): Taken<K, RingFile> {
    return this.take(paths.openat(this.context, path, options))
  }

  /** What there is to know of a file (statx(2)). */
  statx(path: paths.Path, options?: paths.StatxOptions): Taken<K, Statx> {
    return this.take(paths.statx(this.context, path, options))
  }

  /** Removes a name (unlinkat(2), Linux 5.11). */
  unlinkat(path: paths.Path, options?: paths.UnlinkOptions): Taken<K, void> {
    return this.take(paths.unlinkat(this.context, path, options))
  }

  /** Makes a directory (mkdirat(2), Linux 5.15). */
  mkdirat(path: paths.Path, options?: paths.MkdirOptions): Taken<K, void> {
    return this.take(paths.mkdirat(this.context, path, options))
  }

  /** Renames (renameat2(2), Linux 5.11). */
  renameat(path: paths.Path, newPath: paths.Path, options?: paths.TwoPathOptions): Taken<K, void> {
    return this.take(paths.twoPaths(this.context, IORING_OP_RENAMEAT, path, newPath, options))
  }

  /** Gives a file another name (linkat(2), Linux 5.15). */
  linkat(path: paths.Path, newPath: paths.Path, options?: paths.TwoPathOptions): Taken<K, void> {
    return this.take(paths.twoPaths(this.context, IORING_OP_LINKAT, path, newPath, options))
  }

  /** Makes a symbolic link (symlinkat(2), Linux 5.15). */
  symlinkat(target: paths.Path, path: paths.Path, options?: paths.PathOptions): Taken<K, void> {
    return this.take(paths.symlinkat(this.context, target, path, options))
  }

  // ---- sockets ----

  /** A stream socket, not connected (socket(2), Linux 5.19). */
  socket(
    family: 'IPv4' | 'IPv6' | 'unix',
    type: 'stream',
    options?: OperationOptions,
  ): Taken<K, StreamSocket>
  /** A datagram socket, not bound. */
  socket(
    family: 'IPv4' | 'IPv6' | 'unix',
    type: 'datagram',
    options?: OperationOptions,
  ): Taken<K, DatagramSocket>
  socket(
    family: 'IPv4' | 'IPv6' | 'unix',
    type: 'stream' | 'datagram',
    options?: OperationOptions,
  ): unknown {
    const { queue } = this.context
    const make = (fd: number) =>
      type === 'stream' ? new StreamSocket(queue, fd) : new DatagramSocket(queue, fd)
    const kinds = { type: lookUp(net.SOCKET_TYPES, type, 'type'), make }
    return this.take(
      net.socket<StreamSocket | DatagramSocket>(this.context, family, kinds, options),
    )
  }

  /** Gives a socket a local address (bind(2), Linux 6.11). */
  bind(
    socket: net.StreamLike | net.DatagramLike,
    address: AddressLike,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(net.bind(this.context, socket, address, options))
  }

  /** Lets connections come to a raw socket (listen(2), Linux 6.11); `ring.listen` does it all. */
  listenOn(
    socket: number | ListeningSocket,
    backlog: number,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(net.listen(this.context, socket, backlog, options))
  }

  /** The next connection (accept4(2)). */
  accept(socket: net.ListeningLike, options?: OperationOptions): Taken<K, StreamSocket> {
    return this.take(net.accept(this.context, socket, options))
  }

  /** Connects a socket to an address (connect(2)). */
  connect(
    socket: net.StreamLike | net.DatagramLike,
    address: AddressLike,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(net.connect(this.context, socket, address, options))
  }

  /** Sends (send(2)); gives the number of bytes that were taken, maybe fewer than asked. */
  send(
    socket: net.StreamLike | net.DatagramLike,
    bytes: Bytes,
    options?: net.SendOptions,
  ): Taken<K, number> {
    return this.take(net.send(this.context, socket, bytes, options))
  }

  /** Receives (recv(2)); gives the number of bytes, 0 when the other end will send no more. */
  recv(
    socket: net.StreamLike | net.DatagramLike,
    into: Bytes,
    options?: net.SendOptions,
  ): Taken<K, number> {
    return this.take(net.recv(this.context, socket, into, options))
  }

  /** Sends several buffers as one, to an address if one is given (sendmsg(2)). */
  sendmsg(
    socket: net.StreamLike | net.DatagramLike,
    buffers: readonly Bytes[],
    to?: AddressLike,
    options?: net.MessageOptions,
  ): Taken<K, number> {
    return this.take(net.sendmsg(this.context, socket, buffers, to, options))
  }

  /** Receives a datagram, and who sent it (recvmsg(2)). */
  recvmsg(
    socket: net.DatagramLike,
    into: readonly Bytes[],
    options?: net.MessageOptions,
  ): Taken<K, net.Datagram> {
    return this.take(net.recvmsg(this.context, socket, into, options))
  }

  /** Ends one or both directions of a connection (shutdown(2), Linux 5.11). */
  shutdown(
    socket: net.StreamLike,
    how: net.ShutdownHow,
    options?: OperationOptions,
  ): Taken<K, void> {
    return this.take(net.shutdown(this.context, socket, how, options))
  }

  // ---- between descriptors, and waiting ----

  /** Moves bytes between two descriptors, one of them a pipe, without copying (splice(2)). */
  splice(
    from: control.AnyFile,
    to: control.AnyFile,
    length: number,
    options?: control.SpliceOptions,
  ): Taken<K, number> {
    return this.take(control.splice(this.context, from, to, length, options))
  }

  /** Copies bytes from a pipe to another, and leaves them in it (tee(2)). */
  tee(
    from: control.AnyFile,
    to: control.AnyFile,
    length: number,
    options?: control.SpliceOptions,
  ): Taken<K, number> {
    return this.take(control.tee(this.context, from, to, length, options))
  }

  /** Waits for events (`POLL`); gives those that came. */
  poll(file: control.AnyFile, events: number, options?: OperationOptions): Taken<K, number> {
    return this.take(control.poll(this.context, file, events, options))
  }

  /** Completes after so many milliseconds. */
  timeout(milliseconds: number, options?: OperationOptions): Taken<K, void> {
    return this.take(control.timeout(this.context, milliseconds, options))
  }

  /** Does nothing, as an operation of its own. */
  nop(options?: OperationOptions): Taken<K, void> {
    return this.take(control.nop(this.context, options))
  }

  /** Cancels the operations on a descriptor, or all of the ring's; gives how many (Linux 5.19). */
  cancelMatching(
    selection: control.CancelSelection = {},
    options?: OperationOptions,
  ): Taken<K, number> {
    return this.take(control.cancel(this.context, selection, options))
  }

  /** Sends two numbers to another ring of this process, by its `fd` (Linux 5.18).
   *  @param value 0 to 2^31-1 @param data 0 to 2^32-1 */
  message(ringFd: number, value: number, data: number, options?: OperationOptions): Taken<K, void> {
    return this.take(control.message(this.context, ringFd, value, data, options))
  }
}
