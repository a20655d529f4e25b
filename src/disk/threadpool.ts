/** The engine that works everywhere: node:fs on libuv's thread pool, with the same files. */

import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { doubtsBusyPoll, EVENT_LOOP_BUSY_POLL } from '../busy-poll.ts'
import { fromNodeError, SystemError } from '../errors.ts'
import { addon } from '../native.ts'
import { SYSTEM_CLOCK } from './clock.ts'
import type { Disk, DiskBuffer, DiskDirectory, SyncMode } from './disk.ts'
import { makeDirectories, PosixDirectory, PosixFile, progress, resumeAt } from './posix.ts'

type Done = (error: Error | undefined) => void

export class ThreadPoolDisk implements Disk {
  readonly engine = 'threadpool'
  readonly clock = SYSTEM_CLOCK
  readonly busyPoll = EVENT_LOOP_BUSY_POLL
  readonly doubtsBusyPoll = doubtsBusyPoll()

  async openDirectory(path: string, create: { mode: number } | undefined): Promise<DiskDirectory> {
    if (create) makeDirectories(path, create.mode)
    return new PosixDirectory(
      path,
      (fd, name, direct, dir) => new ThreadPoolFile(fd, name, direct, dir),
      fd => promised(done => fsync(fd, done)),
    )
  }

  async pause(milliseconds: number): Promise<void> {
    await this.clock.sleep(milliseconds)
  }

  randomBytes(count: number): Uint8Array {
    return randomBytes(count)
  }

  async close(): Promise<void> {}
}

interface Commit {
  /** Of native code's. */
  readonly id: number
  readonly done: (result: number, inSync: boolean) => void
}

class ThreadPoolFile extends PosixFile {
  /** Under way, in the order of their asking. */
  readonly #commits: Commit[] = []

  read(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let total = 0
      const step = () => {
        const rest = length - total
        fs.read(this.fd, buffer.bytes, offset + total, rest, position + total, (error, n) => {
          if (error) return reject(fromNodeError(error))
          total += n
          // A direct read that stops off the alignment has met the end of the file.
          if (n === 0 || total === length || resumeAt(total) !== total) return resolve(total)
          step()
        })
      }
      step()
    })
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return promised(done => this.#writeFrom(0, buffer, offset, length, position, done))
  }

  sync(): Promise<void> {
    return promised(done => fsync(this.fd, done))
  }

  /** One task of the pool, not one for the write and one for the sync: each costs two thread switches. */
  commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: Done,
  ): void {
    const { id: memory } = buffer.memory
    const tell = (result: number, inSync: boolean) => {
      const at = this.#commits.indexOf(commit)
      // Somebody has waited for it, and knows.
      if (at < 0) return
      this.#commits.splice(at, 1)
      const syscall = inSync ? 'fdatasync' : 'write'
      done(result < 0 ? new SystemError(result, syscall, this.name) : undefined)
    }
    const id = addon().commit(this.fd, memory, offset, length, position, sync === 'dsync', tell)
    const commit = { id, done: tell }
    this.#commits.push(commit)
  }

  waitForCommit(): void {
    const [{ id, done }] = this.#commits
    const { result, inSync } = addon().awaitCommit(id)
    done(result, inSync)
  }

  #writeFrom(
    written: number,
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    done: Done,
  ): void {
    const at = resumeAt(written)
    fs.write(this.fd, buffer.bytes, offset + at, length - at, position + at, (error, n) => {
      if (error) return done(fromNodeError(error) as Error)
      if (at + n === length) return done(undefined)
      try {
        const now = progress(written, at + n, this.name)
        this.#writeFrom(now, buffer, offset, length, position, done)
      } catch (stuck) {
        done(stuck as Error)
      }
    })
  }
}

function fsync(fd: number, done: Done): void {
  fs.fsync(fd, error => done(error ? (fromNodeError(error) as Error) : undefined))
}

export function promised(run: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run(error => (error ? reject(error) : resolve()))
  })
}
