/**
 * The one door to storage. Everything above it works on these verbs alone, so that the same log runs
 * on io_uring, on libuv's thread pool and on a simulated disk.
 *
 * Errors are `SystemError`s (errno, syscall), whatever the engine.
 */

import type { BusyPoll } from '../busy-poll.ts'
import type { NativeMemory } from '../native.ts'
import type { Clock } from './clock.ts'

/** A device writes a sector whole or not at all, so each header of a log fits into one. */
export const SECTOR_BYTES = 512

/** How a disk is reached; `simulated` is the one of `riolog/crash`. */
export type EngineName = 'uring' | 'threadpool' | 'simulated'

/** Memory that may be handed to a disk: aligned, owned by native code. `bytes` is a view of all. */
export interface DiskBuffer {
  /** The memory itself, as native code knows it. */
  readonly memory: NativeMemory
  /** All of it, as bytes. */
  readonly bytes: Uint8Array
}

/**
 * How a commit makes its bytes durable. `fdatasync`: a write, and fdatasync(2) strictly behind it.
 * `dsync`: one write with RWF_DSYNC (pwritev2(2)), which on a device that can (FUA) flushes no cache.
 */
export type SyncMode = 'fdatasync' | 'dsync'

/** A way to reach storage. */
export interface Disk {
  /** Which way it is. */
  readonly engine: EngineName
  /** What all timers of those who wait for this disk run on. */
  readonly clock: Clock
  /** Keeps this thread awake for what comes soon; undefined where nothing sleeps. */
  readonly busyPoll: BusyPoll | undefined
  /** Why it had better not be used unasked. */
  readonly doubtsBusyPoll: string | undefined

  /**
   * Opens a directory; with `create` it and its missing parents are made, each made durable.
   * @throws SystemError ENOENT, ENOTDIR, EACCES, …
   */
  openDirectory(path: string, create: { mode: number } | undefined): Promise<DiskDirectory>

  /** Lets others go first, for about so many milliseconds; a simulated disk has a time of its own. */
  pause(milliseconds: number): Promise<void>

  /** Bytes that nobody can guess, for salts and UUIDs; a simulated disk may have a seed. */
  randomBytes(count: number): Uint8Array

  /** Releases what the engine holds. Files and directories are closed by whoever opened them. */
  close(): Promise<void>
}

/** `read`: for reading. `write`: for reading and writing. `create`: the same, made if missing.
 *  `createNew`: the same, EEXIST if it is there. All but `read` take `mode` for a new file. */
export type OpenHow = 'read' | 'write' | 'create' | 'createNew'

/** An open directory. */
export interface DiskDirectory {
  /** As it was opened. */
  readonly path: string
  /** Why a commit by `dsync` may not be durable here; undefined where the kernel itself sees to it. */
  readonly doubtsDsync: string | undefined
  /** The names in it, in no order. @throws SystemError */
  list(): Promise<string[]>
  /** Opens a file of it; `mode` has the permissions of a new one. @throws SystemError */
  open(name: string, how: OpenHow, mode: number): Promise<DiskFile>
  /** Removes a name; not durable before a sync. @throws SystemError ENOENT, … */
  unlink(name: string): Promise<void>
  /** Gives an open file of this directory another name, which nothing may have. */
  rename(file: DiskFile, name: string): Promise<void>
  /** Makes names made and removed here durable. */
  sync(): Promise<void>
  /** The same, holding up the thread. */
  syncBlocking(): void
  /** Makes this directory's own name durable. */
  syncParent(): Promise<void>
  /** Lets go of the directory; its open files stay open. */
  close(): void
}

/** An open file of a directory. */
export interface DiskFile {
  /** The name that it was opened by. */
  readonly name: string
  /** Reads and writes pass the page cache by (O_DIRECT). */
  readonly direct: boolean

  /** Its length in bytes now. */
  size(): number
  /** The alignment in bytes that the device asks of addresses, lengths and offsets. */
  alignment(): number
  /** Takes the file's exclusive lock (flock(2)) without waiting; false when somebody has it. */
  tryLock(): boolean
  /** The process that holds the lock, where the system tells (/proc/locks). */
  lockHolder(): number | undefined
  /** True when the directory's entry of this name is this very file. */
  isNamed(): boolean
  /** How many names the file has; more than one, and somebody keeps it (a backup by hard links). */
  links(): number
  /** Makes sure that the next read comes from the device, not from a page cache. */
  forgetCache(): Promise<void>

  /** Reads until `length` bytes or the end of the file; returns the bytes read. */
  read(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<number>
  /** Writes all of it, or throws. Not durable before a sync. */
  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void>
  /**
   * Takes space for bytes that are not there yet, and read as zeros; false where the file system or the
   * engine has no such thing (fallocate(2)). Not durable before a sync. @throws SystemError ENOSPC, …
   */
  allocate(position: number, length: number): Promise<boolean>
  /** As {@link read}, holding up the thread; bytes that are synced come from the device, not from a cache. */
  readBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): number
  /** As {@link write}, holding up the thread. */
  writeBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): void
  /** fsync: bytes and metadata. */
  sync(): Promise<void>
  /** As {@link sync}, holding up the thread. */
  syncBlocking(): void
  /**
   * Writes all of it and syncs the bytes, by `sync`; `done` is called once, without an error only if all
   * of that came back good.
   */
  commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: (error: Error | undefined) => void,
  ): void
  /**
   * While the thread works on: lets the kernel do what it does for a commit in this thread's name alone, as
   * beginning the sync behind a write. Where there is nothing of the kind it costs a call into native code at most.
   */
  letGoOn(): void
  /**
   * Holds up the thread until a commit of this file is done and its `done` was called, the oldest or
   * another one. Only while one is under way.
   */
  waitForCommit(): void

  /** No operation may be in flight. */
  close(): void
}
