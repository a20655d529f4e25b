/** The engine on io_uring. All logs of a thread share one ring. */
import { randomBytes } from 'node:crypto'
import { errnoName, SystemError } from '../errors.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOSQE_IO_LINK,
  RWF_DSYNC,
} from '../ring/abi.ts'
import { PlainOperation } from '../ring/operation.ts'
import { RequestQueue } from '../ring/request-queue.ts'
import { SYSTEM_CLOCK } from './clock.ts'
import type { Disk, DiskBuffer, DiskDirectory, SyncMode } from './disk.ts'
import { makeDirectories, PosixDirectory, PosixFile, progress, resumeAt } from './posix.ts'
import { promised } from './threadpool.ts'

const RING_ENTRIES = 256
const RING_CQ_ENTRIES = 1024

type Done = (error: Error | undefined) => void

/** One ring for each JavaScript thread (a module is loaded once a thread), while somebody uses it. */
const shared: { queue: RequestQueue | undefined; users: number } = { queue: undefined, users: 0 }

/** @throws ERR_RIOLOG_NO_IO_URING */
function acquireQueue(): RequestQueue {
  shared.queue ??= new RequestQueue({ depth: RING_ENTRIES, cqDepth: RING_CQ_ENTRIES })
  shared.users++
  return shared.queue
}

async function releaseQueue(): Promise<void> {
  shared.users--
  if (shared.users > 0 || shared.queue === undefined) return
  const queue = shared.queue
  shared.queue = undefined
  await queue.close()
}

export class UringDisk implements Disk {
  readonly engine = 'uring'
  readonly clock = SYSTEM_CLOCK
  /** @internal For tests that look at the SQEs. */
  readonly queue: RequestQueue
  #closed = false

  /** @throws ERR_RIOLOG_NO_IO_URING */
  constructor() {
    this.queue = acquireQueue()
  }

  async openDirectory(path: string, create: { mode: number } | undefined): Promise<DiskDirectory> {
    if (create) makeDirectories(path, create.mode)
    const { queue } = this
    return new PosixDirectory(
      path,
      (fd, name, direct, dir) => new UringFile(queue, fd, name, direct, dir),
      fd => promised(done => fsync(queue, fd, done)),
    )
  }

  async pause(milliseconds: number): Promise<void> {
    await this.clock.sleep(milliseconds)
  }

  randomBytes(count: number): Uint8Array {
    return randomBytes(count)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await releaseQueue()
  }
}

class UringFile extends PosixFile {
  readonly #queue: RequestQueue
  /** Commits that are not done, and what the kernel has of them. */
  #commits = 0
  readonly #committing = new Set<PlainOperation>()
  /** Somebody blocks the thread for a commit: its operations are told of at once. */
  #awaited = false

  constructor(
    queue: RequestQueue,
    fd: number,
    name: string,
    direct: boolean,
    directory: PosixDirectory,
  ) {
    super(fd, name, direct, directory)
    this.#queue = queue
  }

  read(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let total = 0
      const step = () => {
        const { fd } = this
        const rest = length - total
        const request = transfer(IORING_OP_READ, fd, buffer, offset + total, rest, position + total)
        request.settle = result => {
          if (isTransient(result)) return step()
          if (result < 0) return reject(new SystemError(result, 'read', this.name))
          total += result
          // A direct read that stops off the alignment has met the end of the file.
          if (result === 0 || total === length || resumeAt(total) !== total) return resolve(total)
          step()
        }
        this.#queue.push([request])
      }
      step()
    })
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return promised(done => this.#writeFrom(0, buffer, offset, length, position, undefined, done))
  }

  sync(): Promise<void> {
    return promised(done => fsync(this.#queue, this.fd, done))
  }

  commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: Done,
  ): void {
    this.#commits++
    this.#writeFrom(0, buffer, offset, length, position, sync, error => {
      this.#commits--
      done(error)
    })
    // The caller has nothing more to add: waiting for the end of the turn would only cost time.
    this.#queue.submit()
  }

  waitForCommit(): void {
    const before = this.#commits
    this.#awaited = true
    for (const operation of this.#committing) operation.urgent = true
    try {
      this.#queue.waitUntil(() => this.#commits < before, undefined)
    } finally {
      this.#awaited = false
      for (const operation of this.#committing) operation.urgent = false
    }
  }

  #pushCommit(operations: PlainOperation[]): void {
    for (const operation of operations) {
      operation.urgent = this.#awaited
      this.#committing.add(operation)
    }
    this.#queue.push(operations)
  }

  /**
   * Writes from what is `written` on. By `fdatasync`, that is linked behind the write, so that it runs
   * only after a write that did all that was asked of it. A short write breaks the link
   * (io_uring_enter(2), IOSQE_IO_LINK): the rest is written on with a new sync behind it. By `dsync`
   * each piece is durable by itself. Undefined: nothing is.
   */
  #writeFrom(
    written: number,
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    mode: SyncMode | undefined,
    done: Done,
  ): void {
    const at = resumeAt(written)
    const { fd, name } = this
    const rest = length - at
    const write = transfer(IORING_OP_WRITE, fd, buffer, offset + at, rest, position + at)
    const again = (from: number) =>
      this.#writeFrom(from, buffer, offset, length, position, mode, done)

    const afterWrite = (result: number) => {
      if (isTransient(result)) return again(written)
      if (result < 0) return done(new SystemError(result, 'write', name))
      try {
        again(progress(written, at + result, name))
      } catch (stuck) {
        done(stuck as Error)
      }
    }

    if (mode !== 'fdatasync') {
      write.settle = result => {
        this.#committing.delete(write)
        if (result === rest) done(undefined)
        else afterWrite(result)
      }
      if (mode === 'dsync') {
        write.opFlags = RWF_DSYNC
        this.#pushCommit([write])
      } else this.#queue.push([write])
      return
    }
    write.sqeFlags = IOSQE_IO_LINK
    write.quietResult = rest
    const sync = syncRequest(fd, IORING_FSYNC_DATASYNC)
    let writeResult: number | undefined
    write.settle = result => {
      this.#committing.delete(write)
      writeResult = result
    }
    // The last of a chain completes last, also when the kernel cancels it.
    sync.settle = result => {
      this.#committing.delete(sync)
      if (writeResult === undefined) return done(new SystemError(-5, 'write', name))
      if (writeResult !== rest) return afterWrite(writeResult)
      done(result < 0 ? new SystemError(result, 'fdatasync', name) : undefined)
    }
    this.#pushCommit([write, sync])
  }
}

function isTransient(result: number): boolean {
  if (result >= 0) return false
  const name = errnoName(result)
  return name === 'EINTR' || name === 'EAGAIN'
}

function transfer(
  opcode: number,
  fd: number,
  buffer: DiskBuffer,
  memoryOffset: number,
  length: number,
  fileOffset: number,
): PlainOperation {
  const operation = new PlainOperation(opcode)
  operation.fd = fd
  operation.offset = fileOffset
  operation.length = length
  operation.memory = buffer.memory.id
  operation.memoryOffset = memoryOffset
  return operation
}

function syncRequest(fd: number, flags: number): PlainOperation {
  const operation = new PlainOperation(IORING_OP_FSYNC)
  operation.fd = fd
  operation.opFlags = flags
  return operation
}

function fsync(queue: RequestQueue, fd: number, done: Done): void {
  const request = syncRequest(fd, 0)
  request.settle = result => done(result < 0 ? new SystemError(result, 'fsync') : undefined)
  queue.push([request])
}
