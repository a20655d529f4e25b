import { invalidArgument, SystemError } from '../errors.ts'
import { addon, SOCKET_CALL, SOCKET_OPTION } from '../native.ts'
import { ADDRESS_BYTES } from './abi.ts'
import {
  type AddressLike,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  decodeAddress,
  encodeAddress,
  familyOf,
  type SocketAddress,
} from './address.ts'
import { Handle } from './handle.ts'
import type { RequestQueue } from './request-queue.ts'

export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2

/** What `setOption` sets (socket(7), tcp(7)). */
export type SocketOption = keyof typeof SOCKET_OPTION
const OPTION_SYSCALL = { set: 'setsockopt', get: 'getsockopt' }

/** What all sockets have. These calls do not wait, and so do not go through the ring. */
export abstract class Socket extends Handle {
  /** The local address; `port` is the one that the system chose, if 0 was asked for. @throws ERR_RIOLOG_CLOSED, SystemError */
  address(): SocketAddress {
    this.checkOpen()
    return nameOf(this.fd, SOCKET_CALL.NAME, 'getsockname')
  }

  /**
   * Sets an option.
   * @param value a number, or true and false
   * @throws SystemError, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  setOption(option: SocketOption, value: number | boolean): void {
    if (typeof value !== 'boolean' && !Number.isInteger(value)) {
      throw invalidArgument(`value must be an integer, true or false; got ${String(value)}`)
    }
    this.checkOpen()
    check(setOption(this.fd, option, value), OPTION_SYSCALL.set)
  }

  /** The value of an option; 0 and 1 for false and true. @throws SystemError, ERR_RIOLOG_CLOSED */
  getOption(option: SocketOption): number {
    this.checkOpen()
    const call = SOCKET_CALL.GET_OPTION
    return check(addon().socketCall(call, this.fd, numberOf(option), 0), OPTION_SYSCALL.get)
  }
}

/** One end of a connection, or of one that is to be. */
export class StreamSocket extends Socket {
  override readonly kind = 'stream'
  /** @internal */
  constructor(queue: RequestQueue, fd: number) {
    super(queue, fd, 'stream')
  }

  /** The other end's address. @throws SystemError ENOTCONN; ERR_RIOLOG_CLOSED */
  peerAddress(): SocketAddress {
    this.checkOpen()
    return nameOf(this.fd, SOCKET_CALL.PEER_NAME, 'getpeername')
  }
}

/** A socket that accepts connections. */
export class ListeningSocket extends Socket {
  override readonly kind = 'listening'
  /** @internal */
  constructor(queue: RequestQueue, fd: number) {
    super(queue, fd, 'listening')
  }
}

/** A socket for datagrams. */
export class DatagramSocket extends Socket {
  override readonly kind = 'datagram'
  /** @internal */
  constructor(queue: RequestQueue, fd: number) {
    super(queue, fd, 'datagram')
  }
}

/** The options of `ring.listen`. */
export interface ListenOptions {
  /** Where to listen: `{ address, port }` (port 0: the system chooses one), or `{ path }`. */
  readonly on: AddressLike
  /** Connections that may wait to be accepted; 511. */
  readonly backlog?: number
  /** Several sockets share the port (SO_REUSEPORT); false. */
  readonly reusePort?: boolean
}

/** The options of `ring.datagram`. */
export interface DatagramOptions {
  /** The local address: `{ address, port }` (port 0: the system chooses one), or `{ path }`. */
  readonly on: AddressLike
  /** Several sockets share the port (SO_REUSEPORT); false. */
  readonly reusePort?: boolean
}

/** @throws SystemError EADDRINUSE, EACCES, …; ERR_RIOLOG_INVALID_ARGUMENT */
export function listen(queue: RequestQueue, options: ListenOptions): ListeningSocket {
  const backlog = options.backlog ?? 511
  if (!Number.isInteger(backlog) || backlog < 0 || backlog > 0x7fffffff) {
    throw invalidArgument(`backlog must be an integer of 0 or more, got ${String(backlog)}`)
  }
  const fd = boundSocket(SOCK_STREAM, options)
  return orClose(fd, () => {
    check(addon().socketCall(SOCKET_CALL.LISTEN, fd, backlog, 0), 'listen')
    return new ListeningSocket(queue, fd)
  })
}

export function bindDatagram(queue: RequestQueue, options: DatagramOptions): DatagramSocket {
  return new DatagramSocket(queue, boundSocket(SOCK_DGRAM, options))
}

/** A stream socket of the family that an address needs, not connected yet. */
export function streamFor(queue: RequestQueue, address: AddressLike): StreamSocket {
  const family = familyOf(address)
  const fd = makeSocket(family, SOCK_STREAM)
  if (family !== AF_UNIX) setOption(fd, 'noDelay', true)
  return new StreamSocket(queue, fd)
}

export const FAMILIES = { IPv4: AF_INET, IPv6: AF_INET6, unix: AF_UNIX } as const

function makeSocket(family: number, type: number): number {
  return check(addon().socketCall(SOCKET_CALL.SOCKET, family, type, 0), 'socket')
}

function boundSocket(type: number, options: ListenOptions | DatagramOptions): number {
  const family = familyOf(options.on)
  const address = new Uint8Array(ADDRESS_BYTES)
  const length = encodeAddress(options.on, address)
  const fd = makeSocket(family, type)
  return orClose(fd, () => {
    // As libuv does: a server that was restarted gets its port back.
    if (family !== AF_UNIX && type === SOCK_STREAM)
      check(setOption(fd, 'reuseAddress', true), 'setsockopt')
    if (options.reusePort === true) check(setOption(fd, 'reusePort', true), 'setsockopt')
    check(addon().socketCall(SOCKET_CALL.BIND, fd, 0, 0, address.subarray(0, length)), 'bind')
    return fd
  })
}

function orClose<T>(fd: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    addon().closeFile(fd)
    throw error
  }
}

function numberOf(option: SocketOption): number {
  if (typeof option !== 'string' || !Object.hasOwn(SOCKET_OPTION, option)) {
    throw invalidArgument(`no such socket option: ${String(option)}`)
  }
  return SOCKET_OPTION[option]
}

function setOption(fd: number, option: SocketOption, value: number | boolean): number {
  return addon().socketCall(SOCKET_CALL.SET_OPTION, fd, numberOf(option), Number(value))
}

function nameOf(fd: number, call: number, syscall: string): SocketAddress {
  const bytes = new Uint8Array(ADDRESS_BYTES)
  return decodeAddress(bytes, check(addon().socketCall(call, fd, 0, 0, bytes), syscall))
}

function check(result: number, syscall: string): number {
  if (result < 0) throw new SystemError(result, syscall)
  return result
}
