/** What both real engines share: names, locks, sizes, and the calls that hold up the thread. */
import * as fs from 'node:fs'
import { dirname, resolve } from 'node:path'
import { errnoName, fromNodeError, SystemError } from '../errors.ts'
import { addon } from '../native.ts'
import { alignmentOf, DEFAULT_ALIGNMENT } from '../ring/direct-alignment.ts'
import { KIB } from '../units.ts'
import type { DiskBuffer, DiskDirectory, DiskFile, OpenHow, SyncMode } from './disk.ts'

/** FileCall::Kind in native/core/files.h */
const OPEN_AT = 0
const UNLINK_AT = 1
const RENAME_AT = 2
const FLOCK = 3
const DROP_CACHE = 4
const ALLOCATE = 7

/** macOS has no O_DIRECT; 0 then, and the file counts as not direct. */
const O_DIRECT = fs.constants.O_DIRECT ?? 0
/**
 * File systems whose direct writes honour RWF_DSYNC in the kernel itself, by statfs(2): ext4 and XFS, both by iomap_dio_complete
 * (fs/iomap/direct-io.c). FUSE leaves it to its server (fuse_write_flags, fs/fuse/file.c), which need not know it.
 */
const HONOUR_DSYNC: readonly number[] = [0xef53, 0x58465342]

const FLAGS: Record<OpenHow, number> = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
  createNew: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
}

export function attempt<T>(run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw fromNodeError(error)
  }
}

async function fileCall(
  kind: number,
  syscall: string,
  fd: number,
  name: string,
  flags = 0,
  mode = 0,
  otherName = '',
): Promise<number> {
  const result = await new Promise<number>(settle => {
    addon().fileCall(kind, fd, name, otherName, flags, mode, settle)
  })
  if (result < 0) throw new SystemError(result, syscall, name || undefined)
  return result
}

/** By statfs(2), whose numbers are Linux's own; undefined where nobody tells. */
function fileSystemType(path: string): number | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    return fs.statfsSync(path).type
  } catch {
    return undefined
  }
}

/** Makes a missing directory and its missing parents, and each new name durable. */
export function makeDirectories(path: string, mode: number): void {
  const target = resolve(path)
  const first = attempt(() => fs.mkdirSync(target, { recursive: true, mode }))
  if (first === undefined) return
  // From the deepest up: each directory made, and then the parent of the highest of them.
  const stop = dirname(first)
  for (let made = target; ; made = dirname(made)) {
    const parent = dirname(made)
    const fd = attempt(() => fs.openSync(parent, 'r'))
    try {
      attempt(() => fs.fsyncSync(fd))
    } finally {
      fs.closeSync(fd)
    }
    if (parent === stop) return
  }
}

export type MakeFile = (fd: number, name: string, direct: boolean, dir: PosixDirectory) => DiskFile

export class PosixDirectory implements DiskDirectory {
  readonly path: string
  fd: number
  readonly #makeFile: MakeFile
  readonly #fsync: (fd: number) => Promise<void>

  constructor(path: string, makeFile: MakeFile, fsync: (fd: number) => Promise<void>) {
    this.path = resolve(path)
    this.#makeFile = makeFile
    this.#fsync = fsync
    const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY
    this.fd = attempt(() => fs.openSync(this.path, flags))
  }

  async list(): Promise<string[]> {
    return attempt(() => fs.readdirSync(this.path))
  }

  async open(name: string, how: OpenHow, mode: number): Promise<DiskFile> {
    const flags = FLAGS[how]
    let direct = O_DIRECT !== 0
    let fd: number
    try {
      fd = await fileCall(OPEN_AT, 'openat', this.fd, name, flags | O_DIRECT, mode)
    } catch (error) {
      // The file system has no direct I/O (open(2), EINVAL). The file may have been made all the same.
      const noDirect = error instanceof SystemError && error.errnoName === 'EINVAL' && direct
      if (!noDirect) throw error
      direct = false
      fd = await fileCall(OPEN_AT, 'openat', this.fd, name, flags & ~fs.constants.O_EXCL, mode)
    }
    return this.#makeFile(fd, name, direct, this)
  }

  get doubtsDsync(): string | undefined {
    const type = fileSystemType(this.path)
    if (type !== undefined && HONOUR_DSYNC.includes(type)) return undefined
    const named = type === undefined ? 'of no known type' : `statfs: 0x${type.toString(16)}`
    return `RWF_DSYNC is not known to be kept on this file system (${named})`
  }

  async unlink(name: string): Promise<void> {
    await fileCall(UNLINK_AT, 'unlinkat', this.fd, name)
  }

  async rename(file: DiskFile, name: string): Promise<void> {
    await fileCall(RENAME_AT, 'renameat', this.fd, file.name, 0, 0, name)
    ;(file as PosixFile).name = name
  }

  sync(): Promise<void> {
    return this.#fsync(this.fd)
  }

  syncBlocking(): void {
    attempt(() => fs.fsyncSync(this.fd))
  }

  async syncParent(): Promise<void> {
    const fd = attempt(() => fs.openSync(dirname(this.path), 'r'))
    try {
      await this.#fsync(fd)
    } finally {
      fs.closeSync(fd)
    }
  }

  /** Whatever comes behind it meets EBADF, not what has the number by then. */
  close(): void {
    if (this.fd < 0) return
    fs.closeSync(this.fd)
    this.fd = -1
  }
}

/** A file by its descriptor; engines add the calls that do not hold up the thread. */
export abstract class PosixFile implements DiskFile {
  name: string
  readonly direct: boolean
  protected fd: number
  readonly #directory: PosixDirectory

  constructor(fd: number, name: string, direct: boolean, directory: PosixDirectory) {
    this.fd = fd
    this.name = name
    this.direct = direct
    this.#directory = directory
  }

  abstract read(b: DiskBuffer, offset: number, length: number, position: number): Promise<number>
  abstract write(b: DiskBuffer, offset: number, length: number, position: number): Promise<void>
  abstract sync(): Promise<void>
  abstract commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: (error: Error | undefined) => void,
  ): void

  /** Threads need nobody's leave. */
  letGoOn(): void {}

  abstract waitForCommit(): void

  size(): number {
    return attempt(() => fs.fstatSync(this.fd)).size
  }

  alignment(): number {
    return alignmentOf(this.fd)
  }

  tryLock(): boolean {
    const result = addon().fileCall(FLOCK, this.fd, '', '', 0, 0)
    if (result === 0) return true
    const name = errnoName(result)
    if (name === 'EAGAIN') return false
    throw new SystemError(result, 'flock', this.name)
  }

  lockHolder(): number | undefined {
    const { ino } = attempt(() => fs.fstatSync(this.fd))
    let locks: string
    try {
      locks = fs.readFileSync('/proc/locks', 'utf8')
    } catch {
      return undefined
    }
    // "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF" (proc(5)); a pid of another namespace is 0.
    for (const line of locks.split('\n')) {
      const found = /FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s/.exec(line)
      if (found && Number(found[2]) === ino && Number(found[1]) > 0) return Number(found[1])
    }
    return undefined
  }

  isNamed(): boolean {
    const mine = attempt(() => fs.fstatSync(this.fd))
    try {
      const named = fs.lstatSync(`${this.#directory.path}/${this.name}`)
      return named.ino === mine.ino && named.dev === mine.dev
    } catch {
      return false
    }
  }

  links(): number {
    return attempt(() => fs.fstatSync(this.fd)).nlink
  }

  async forgetCache(): Promise<void> {
    if (this.direct) return
    await this.sync()
    this.#dropCache()
  }

  /** Pages that are not written yet stay (posix_fadvise(2), POSIX_FADV_DONTNEED). */
  #dropCache(): void {
    const result = addon().fileCall(DROP_CACHE, this.fd, '', '', 0, 0)
    if (result < 0) throw new SystemError(result, 'posix_fadvise', this.name)
  }

  async allocate(position: number, length: number): Promise<boolean> {
    try {
      await fileCall(ALLOCATE, 'fallocate', this.fd, '', position / KIB, length / KIB)
      return true
    } catch (error) {
      const name = errnoName((error as SystemError).errno)
      if (name === 'EOPNOTSUPP' || name === 'ENOTSUP' || name === 'ENOSYS') return false
      throw error
    }
  }

  readBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): number {
    if (!this.direct) this.#dropCache()
    let total = 0
    for (;;) {
      const [at, rest] = [offset + total, length - total]
      const n = attempt(() => fs.readSync(this.fd, buffer.bytes, at, rest, position + total))
      total += n
      // A direct read that stops off the alignment has met the end of the file.
      if (n === 0 || total === length || resumeAt(total) !== total) return total
    }
  }

  writeBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): void {
    let written = 0
    while (written < length) {
      const at = resumeAt(written)
      const n = attempt(() =>
        fs.writeSync(this.fd, buffer.bytes, offset + at, length - at, position + at),
      )
      written = progress(written, at + n, this.name)
    }
  }

  syncBlocking(): void {
    attempt(() => fs.fsyncSync(this.fd))
  }

  close(): void {
    if (this.fd < 0) return
    // Opened by native code, so closed there: if a worker ends before, its descriptors go with it.
    addon().closeFile(this.fd)
    this.fd = -1
  }
}

/** A short write goes on from the last whole block of it, since O_DIRECT asks for alignment. */
export function resumeAt(written: number): number {
  return written - (written % DEFAULT_ALIGNMENT)
}

/** @throws SystemError EIO when a write makes no headway: it would be tried for ever */
export function progress(before: number, after: number, name: string): number {
  if (resumeAt(after) <= resumeAt(before) && after <= before) {
    throw new SystemError(-5, 'write', name)
  }
  return after
}
