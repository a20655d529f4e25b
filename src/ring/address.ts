import { isIP } from 'node:net'
import { invalidArgument } from '../errors.ts'
import { addon } from '../native.ts'
import { ADDRESS_BYTES } from './abi.ts'

/** The end of a connection or datagram: as `socket.address()` of node:net has it, or a Unix path. */
export type SocketAddress = InternetAddress | UnixAddress

/** An address of the Internet Protocol. */
export interface InternetAddress {
  /** The version. */
  readonly family: 'IPv4' | 'IPv6'
  /** Numeric: `'127.0.0.1'`, `'::1'`. A ring asks no name server. */
  readonly address: string
  /** From 0 to 65535. */
  readonly port: number
}

/** An address on this machine (unix(7)). */
export interface UnixAddress {
  /** Tells it from an Internet address. */
  readonly family: 'unix'
  /** A path in the file system, or with a leading NUL an abstract name (unix(7)). */
  readonly path: string
}

/** What callers may give: the family of an IP address shows in its text. */
export type AddressLike =
  | { readonly address: string; readonly port: number; readonly family?: string }
  | { readonly path: string; readonly family?: string }

/** Numbers of socket(2), equal on every architecture of Linux that Node runs on. */
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10

const IPV4_BYTES = 16 // sizeof(struct sockaddr_in)
const IPV6_BYTES = 28
const UNIX_PATH_BYTES = 108 // sizeof(sun_path)

/** The family of an address. @throws ERR_RIOLOG_INVALID_ARGUMENT */
export function familyOf(address: AddressLike): number {
  if (address !== null && typeof address === 'object') {
    if ('path' in address && typeof address.path === 'string') return AF_UNIX
    const version = 'address' in address ? isIP(String(address.address)) : 0
    if (version === 4) return AF_INET
    if (version === 6) return AF_INET6
  }
  throw invalidArgument(
    'an address is { address, port } with a numeric IP address, or { path } of a Unix socket',
  )
}

function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw invalidArgument(`port must be an integer from 0 to 65535, got ${String(port)}`)
  }
}

/**
 * Writes a `struct sockaddr` (ip(7), ipv6(7), unix(7)); returns its length in bytes.
 * @throws ERR_RIOLOG_INVALID_ARGUMENT
 */
export function encodeAddress(address: AddressLike, into: Uint8Array): number {
  const family = familyOf(address)
  into.fill(0, 0, ADDRESS_BYTES)
  const view = new DataView(into.buffer, into.byteOffset, ADDRESS_BYTES)
  view.setUint16(0, family, true)
  if ('path' in address) {
    const path = Buffer.from(address.path)
    if (path.length === 0 || path.length >= UNIX_PATH_BYTES) {
      throw invalidArgument(`a Unix socket's path has 1 to ${UNIX_PATH_BYTES - 1} bytes`)
    }
    into.set(path, 2)
    // An abstract name ends where its length says, a path at its NUL.
    return 2 + path.length + (path[0] === 0 ? 0 : 1)
  }
  checkPort(address.port)
  view.setUint16(2, address.port)
  const [text, zone] = address.address.split('%')
  const numeric = new Uint8Array(16)
  addon().parseAddress(text, numeric)
  if (family === AF_INET) {
    into.set(numeric.subarray(0, 4), 4)
    return IPV4_BYTES
  }
  if (zone !== undefined && !/^\d+$/.test(zone)) {
    throw invalidArgument(`an IPv6 zone must be the number of an interface, got ${String(zone)}`)
  }
  into.set(numeric, 8)
  view.setUint32(24, Number(zone ?? 0), true)
  return IPV6_BYTES
}

/** @param length of the address in bytes, as the kernel told it */
export function decodeAddress(bytes: Uint8Array, length: number): SocketAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset, ADDRESS_BYTES)
  const family = length >= 2 ? view.getUint16(0, true) : AF_UNIX
  if (family === AF_INET) {
    const address = bytes.subarray(4, 8).join('.')
    return { family: 'IPv4', address, port: view.getUint16(2) }
  }
  if (family === AF_INET6) {
    const zone = view.getUint32(24, true)
    const text = addon().formatAddress(bytes.slice(8, 24))
    const address = zone === 0 ? text : `${text}%${zone}`
    return { family: 'IPv6', address, port: view.getUint16(2) }
  }
  const name = Buffer.from(bytes.subarray(2, Math.max(2, Math.min(length, ADDRESS_BYTES))))
  const end = name[0] === 0 ? name.length : name.indexOf(0)
  return { family: 'unix', path: name.toString('utf8', 0, end < 0 ? name.length : end) }
}
