/** Connections and datagrams. */
import {
  ADDRESS_BYTES,
  IORING_OP_ACCEPT,
  IORING_OP_BIND,
  IORING_OP_CONNECT,
  IORING_OP_LISTEN,
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_SHUTDOWN,
  IORING_OP_SOCKET,
  MESSAGE_NAME_BYTES,
  MSG,
} from '../abi.ts'
import { type AddressLike, decodeAddress, encodeAddress, type SocketAddress } from '../address.ts'
import type { HasFd } from '../handle.ts'
import type { OperationOptions, Request, RequestContext } from '../request.ts'
import {
  type DatagramSocket,
  FAMILIES,
  type ListeningSocket,
  SOCK_DGRAM,
  SOCK_STREAM,
  StreamSocket,
} from '../sockets.ts'
import { type Bytes, checkBytes, checkUint32, lookUp, newRequest } from './check.ts'
import { checkVector, nothing, useBytes, useVector } from './transfer.ts'

/** A connected stream: one of ours, or a raw descriptor. */
export type StreamLike = number | StreamSocket
/** A socket that listens: one of ours, or a raw descriptor. */
export type ListeningLike = number | ListeningSocket
/** A datagram socket: one of ours, or a raw descriptor. */
export type DatagramLike = number | DatagramSocket
/** Any socket. */
export type SocketLike = StreamLike | ListeningLike | DatagramLike

/** The options of `send` and `recv`. */
export interface SendOptions extends OperationOptions {
  /** Where in the buffer, in bytes; 0. */
  readonly from?: number
  /** How many bytes; up to the buffer's end. */
  readonly length?: number
  /** `MSG` flags. MSG_NOSIGNAL is always added to a send: EPIPE instead of a signal. */
  readonly flags?: number
}

/** What `recvmsg` received. */
export interface Datagram {
  /** Bytes of it that fitted. */
  readonly length: number
  /** Who sent it. */
  readonly from: SocketAddress
  /** It was longer than the buffers: the rest is lost. */
  readonly truncated: boolean
}

const SOCK_CLOEXEC = 0o2000000

export function send(
  context: RequestContext,
  socket: StreamLike | DatagramLike,
  bytes: Bytes,
  options: SendOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_SEND)
  request.useFile(context, socket)
  checkBytes(bytes)
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags') | MSG.NOSIGNAL
  request.useOptions(options)
  useBytes(request, bytes, options, true)
  request.expected = request.length
  return request
}

export function recv(
  context: RequestContext,
  socket: StreamLike | DatagramLike,
  bytes: Bytes,
  options: SendOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_RECV)
  request.useFile(context, socket)
  checkBytes(bytes)
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags')
  request.useOptions(options)
  useBytes(request, bytes, options, false)
  // Without MSG_WAITALL fewer bytes than there is room for are no failure, and break no chain.
  request.expected = (request.opFlags & MSG.WAITALL) !== 0 ? request.length : -1
  return request
}

export function accept(
  context: RequestContext,
  socket: ListeningLike,
  options: OperationOptions | undefined,
): Request<StreamSocket> {
  const request = newRequest<StreamSocket>(context, IORING_OP_ACCEPT)
  request.useFile(context, socket)
  request.opFlags = SOCK_CLOEXEC
  request.setYieldsFd()
  request.convert = (_, fd) => new StreamSocket(context.queue, fd)
  request.useOptions(options)
  return request
}

/** The address goes into the request's block; its length is the SQE's off. */
function useAddress(request: Request<unknown>, address: AddressLike): void {
  const block = request.pool.take(ADDRESS_BYTES)
  request.useBlock(block)
  request.offset = encodeAddress(address, block.bytes)
}

export function connect(
  context: RequestContext,
  socket: StreamLike | DatagramLike,
  address: AddressLike,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_CONNECT)
  request.useFile(context, socket)
  request.convert = nothing
  request.useOptions(options)
  useAddress(request, address)
  return request
}

export function bind(
  context: RequestContext,
  socket: StreamLike | DatagramLike,
  address: AddressLike,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_BIND)
  request.useFile(context, socket)
  request.convert = nothing
  request.useOptions(options)
  useAddress(request, address)
  return request
}

export function listen(
  context: RequestContext,
  socket: number | ListeningSocket,
  backlog: number,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_LISTEN)
  request.useFile(context, socket)
  request.length = checkUint32(backlog, 'backlog')
  request.convert = nothing
  request.useOptions(options)
  return request
}

export interface SocketKinds<T> {
  readonly type: number
  readonly make: (fd: number) => T
}

export function socket<T>(
  context: RequestContext,
  family: keyof typeof FAMILIES,
  { type, make }: SocketKinds<T>,
  options: OperationOptions | undefined,
): Request<T> {
  const request = newRequest<T>(context, IORING_OP_SOCKET)
  request.fd = lookUp(FAMILIES, family, 'family') // domain, type and protocol stand in fd, off and len
  request.offset = type | SOCK_CLOEXEC
  request.setYieldsFd()
  request.convert = (_, fd) => make(fd)
  request.useOptions(options)
  return request
}

export const SOCKET_TYPES = { stream: SOCK_STREAM, datagram: SOCK_DGRAM } as const

/** Numbers of shutdown(2). */
const HOW = { read: 0, write: 1, both: 2 } as const
/** Which direction `shutdown` ends. */
export type ShutdownHow = keyof typeof HOW

export function shutdown(
  context: RequestContext,
  socket: StreamLike,
  how: ShutdownHow,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_SHUTDOWN)
  request.useFile(context, socket)
  request.length = lookUp(HOW, how, 'how')
  request.convert = nothing
  request.useOptions(options)
  return request
}

/** The options of `sendmsg` and `recvmsg`. */
export interface MessageOptions extends OperationOptions {
  /** `MSG` flags. */
  readonly flags?: number
}

export function sendmsg(
  context: RequestContext,
  socket: SocketLike | HasFd,
  buffers: readonly Bytes[],
  to: AddressLike | undefined,
  options: MessageOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_SENDMSG)
  request.useFile(context, socket)
  checkVector(buffers)
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags') | MSG.NOSIGNAL
  request.useOptions(options)
  if (to !== undefined) useName(request, to)
  useVector(request, buffers, true)
  request.expected = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
  return request
}

export function recvmsg(
  context: RequestContext,
  socket: DatagramLike,
  buffers: readonly Bytes[],
  options: MessageOptions | undefined,
): Request<Datagram> {
  const request = newRequest<Datagram>(context, IORING_OP_RECVMSG)
  request.useFile(context, socket)
  checkVector(buffers)
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags')
  request.useOptions(options)
  useName(request, undefined)
  useVector(request, buffers, false)
  request.convert = (request, length) => {
    const { bytes } = request.secondBlock!
    const view = new DataView(bytes.buffer, bytes.byteOffset, MESSAGE_NAME_BYTES)
    return {
      length,
      from: decodeAddress(bytes, view.getUint32(ADDRESS_BYTES, true)),
      truncated: (view.getUint32(ADDRESS_BYTES + 4, true) & MSG.TRUNC) !== 0,
    }
  }
  return request
}

/** `struct MessageName` of native/core/request.h: an address to send to, or room for a sender's. */
function useName(request: Request<unknown>, to: AddressLike | undefined): void {
  const block = request.pool.take(MESSAGE_NAME_BYTES)
  request.useSecondBlock(block)
  request.offset = to === undefined ? ADDRESS_BYTES : encodeAddress(to, block.bytes)
}
