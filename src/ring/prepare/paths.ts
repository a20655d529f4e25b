/** Operations on names: opening, statx, and changing directories. */
import { constants } from 'node:fs'
import { invalidArgument } from '../../errors.ts'
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  type IORING_OP_LINKAT,
  IORING_OP_MKDIRAT,
  IORING_OP_OPENAT,
  type IORING_OP_RENAMEAT,
  IORING_OP_STATX,
  IORING_OP_SYMLINKAT,
  IORING_OP_UNLINKAT,
} from '../abi.ts'
import { type FileLike, RegisteredFile, RingFile } from '../handle.ts'
import type { Block } from '../memory-pool.ts'
import type { OperationOptions, Request, RequestContext } from '../request.ts'
import { checkUint32, newRequest } from './check.ts'
import { decodeStatx, STATX_BASIC_STATS, STATX_BYTES, type Statx } from './statx.ts'
import { nothing } from './transfer.ts'

/** A path: text, or bytes for names that are no UTF-8. */
export type Path = string | Uint8Array

/** The options of whatever takes a path. */
export interface PathOptions extends OperationOptions {
  /** The directory that a relative path starts at; the working directory. */
  readonly dir?: FileLike
}

/** The options of `openat`. */
export interface OpenOptions extends PathOptions {
  /** `constants.O_*` of node:fs; O_RDONLY. O_CLOEXEC is always added. */
  readonly flags?: number
  /** Permissions of a file that is made; 0o600. */
  readonly mode?: number
}

/** The options of `statx`. */
export interface StatxOptions extends PathOptions {
  /** STATX_* (statx(2)); the basic ones, and the alignment of direct I/O. */
  readonly mask?: number
  /** Of a symbolic link itself. */
  readonly noFollow?: boolean
}

/** The options of `unlinkat`. */
export interface UnlinkOptions extends PathOptions {
  /** Removes an empty directory instead of a file. */
  readonly directory?: boolean
}

/** The options of `mkdirat`. */
export interface MkdirOptions extends PathOptions {
  /** 0o700 */
  readonly mode?: number
}

/** The options of `renameat` and `linkat`. */
export interface TwoPathOptions extends OperationOptions {
  /** The directory of the old path, and of the new one unless `newDir` is given. */
  readonly dir?: FileLike
  /** The directory of the new path. */
  readonly newDir?: FileLike
  /** RENAME_* (renameat2(2)) or AT_* (linkat(2)). */
  readonly flags?: number
}

const PATH_MAX = 4096

function pathBlock(request: Request<unknown>, path: Path, name: string): Block {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path
  if (!(bytes instanceof Uint8Array) || bytes.includes(0) || bytes.length >= PATH_MAX) {
    throw invalidArgument(`${name} must be a path without NUL, below ${PATH_MAX} bytes`)
  }
  const block = request.pool.take(bytes.length + 1)
  block.bytes.set(bytes)
  block.bytes[bytes.length] = 0
  return block
}

function usePath(request: Request<unknown>, path: Path): void {
  request.useBlock(pathBlock(request, path, 'path'))
}

function useSecondPath(request: Request<unknown>, path: Path): void {
  request.useSecondBlock(pathBlock(request, path, 'newPath'))
}

function useDirectory(context: RequestContext, request: Request<unknown>, dir?: FileLike): void {
  if (dir instanceof RegisteredFile) throw invalidArgument('dir must not be a registered file')
  if (dir === undefined) request.fd = AT_FDCWD
  else request.useFile(context, dir)
}

export function openat(
  context: RequestContext,
  path: Path,
  options: OpenOptions | undefined,
): Request<RingFile> {
  const request = newRequest<RingFile>(context, IORING_OP_OPENAT)
  useDirectory(context, request, options?.dir)
  // O_CLOEXEC (asm-generic/fcntl.h): node:fs does not export it.
  const cloexec = 0o2000000
  request.opFlags = checkUint32(options?.flags ?? constants.O_RDONLY, 'flags') | cloexec
  request.length = checkUint32(options?.mode ?? 0o600, 'mode')
  request.setYieldsFd()
  request.convert = (_, fd) => new RingFile(context.queue, fd)
  request.useOptions(options)
  usePath(request, path)
  return request
}

export function statx(
  context: RequestContext,
  path: Path,
  options: StatxOptions | undefined,
): Request<Statx> {
  const request = newRequest<Statx>(context, IORING_OP_STATX)
  useDirectory(context, request, options?.dir)
  request.length = checkUint32(options?.mask ?? STATX_BASIC_STATS, 'mask')
  request.opFlags = options?.noFollow === true ? AT_SYMLINK_NOFOLLOW : 0
  request.convert = request => decodeStatx(request.secondBlock!.bytes)
  request.useOptions(options)
  usePath(request, path)
  request.useSecondBlock(request.pool.take(STATX_BYTES))
  return request
}

export function unlinkat(
  context: RequestContext,
  path: Path,
  options: UnlinkOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_UNLINKAT)
  useDirectory(context, request, options?.dir)
  request.opFlags = options?.directory === true ? AT_REMOVEDIR : 0
  return finishPath(request, path, options)
}

export function mkdirat(
  context: RequestContext,
  path: Path,
  options: MkdirOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_MKDIRAT)
  useDirectory(context, request, options?.dir)
  request.length = checkUint32(options?.mode ?? 0o700, 'mode')
  return finishPath(request, path, options)
}

function finishPath(
  request: Request<void>,
  path: Path,
  options: OperationOptions | undefined,
): Request<void> {
  request.convert = nothing
  request.useOptions(options)
  usePath(request, path)
  return request
}

/** renameat and linkat: both have two directories. */
export function twoPaths(
  context: RequestContext,
  opcode: typeof IORING_OP_RENAMEAT | typeof IORING_OP_LINKAT,
  path: Path,
  newPath: Path,
  options: TwoPathOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, opcode)
  useDirectory(context, request, options?.dir)
  const newDir = options?.newDir ?? options?.dir
  const newFd = newDir === undefined ? AT_FDCWD : request.useOtherFile(newDir)
  request.length = newFd >>> 0 // the SQE's len has the second descriptor
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags')
  finishPath(request, path, options)
  useSecondPath(request, newPath)
  return request
}

export function symlinkat(
  context: RequestContext,
  target: Path,
  path: Path,
  options: PathOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_SYMLINKAT)
  useDirectory(context, request, options?.dir)
  finishPath(request, target, options)
  useSecondPath(request, path)
  return request
}
