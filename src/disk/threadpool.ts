/** The engine that works everywhere: node:fs on libuv's thread pool, with the same files. */

import * as fs from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { fromNodeError } from '../errors.ts'
import type { Disk, DiskBuffer, DiskDirectory } from './disk.ts'
import { makeDirectories, PosixDirectory, PosixFile, progress, resumeAt } from './posix.ts'

type Done = (error: Error | undefined) => void

export class ThreadPoolDisk implements Disk {
  readonly engine = 'threadpool'

  async openDirectory(path: string, create: { mode: number } | undefined): Promise<DiskDirectory> {
    if (create) makeDirectories(path, create.mode)
    return new PosixDirectory(
      path,
      (fd, name, direct, dir) => new ThreadPoolFile(fd, name, direct, dir),
      fd => promised(done => fsync(fd, done)),
    )
  }

  async pause(milliseconds: number): Promise<void> {
    await setTimeout(milliseconds)
  }

  async close(): Promise<void> {}
}

class ThreadPoolFile extends PosixFile {
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

  commit(buffer: DiskBuffer, offset: number, length: number, position: number, done: Done): void {
    this.#writeFrom(0, buffer, offset, length, position, error => {
      if (error) return done(error)
      fs.fdatasync(this.fd, failed => done(failed ? (fromNodeError(failed) as Error) : undefined))
    })
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
