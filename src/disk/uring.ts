/** The engine on io_uring. All logs of a thread share one ring. */
import { randomBytes } from 'node:crypto'
import { doubtsBusyPoll, EVENT_LOOP_BUSY_POLL } from '../busy-poll.ts'
import { errnoName, SystemError } from '../errors.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOSQE_IO_LINK,
  NEVER_QUIET,
  RWF_DSYNC,
} from '../ring/abi.ts'
import { PlainOperation } from '../ring/operation.ts'
import { RequestQueue } from '../ring/request-queue.ts'
import { KIB } from '../units.ts'
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
  readonly busyPoll = EVENT_LOOP_BUSY_POLL
  readonly doubtsBusyPoll = doubtsBusyPoll()
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

/** Short reads go to the kernel together; a long one has nothing to gain from company. */
const LONG_READ_BYTES = 256 * KIB
/** So many: then the device has something to do while the rest of the turn's are made. */
const READS_TOGETHER = 8

class UringFile extends PosixFile {
  readonly #queue: RequestQueue
  /** As many as there were commits at once; used again, so that a commit leaves no garbage behind. */
  readonly #commits: Writing[] = []
  /** Commits that are done. */
  #answered = 0
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
        try {
          this.#queue.checkChain(1)
          this.#queue.pushOne(request)
        } catch (error) {
          // Of a ring that was closed between two pieces of it.
          return reject(error)
        }
        // A scan that reads ahead does not come to the end of its turn before it needs the bytes.
        if (rest >= LONG_READ_BYTES || this.#queue.stagedCount >= READS_TOGETHER) {
          this.#queue.submit()
        }
      }
      step()
    })
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return promised(done =>
      new Writing(this.#queue, this.fd, this, ignore).begin(
        buffer,
        offset,
        length,
        position,
        undefined,
        false,
        done,
      ),
    )
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
    const writing = this.#commits.find(isFree) ?? this.#addCommit()
    writing.begin(buffer, offset, length, position, sync, this.#awaited, done)
  }

  #addCommit(): Writing {
    const writing = new Writing(this.#queue, this.fd, this, () => this.#answered++)
    this.#commits.push(writing)
    return writing
  }

  override close(): void {
    super.close()
    // They know the descriptor that it had.
    this.#commits.length = 0
  }

  override letGoOn(): void {
    this.#queue.runTaskWork()
  }

  waitForCommit(): void {
    const before = this.#answered
    this.#awaited = true
    for (const commit of this.#commits) commit.isUrgent = true
    try {
      this.#queue.waitUntil(() => this.#answered > before, undefined)
    } finally {
      this.#awaited = false
      for (const commit of this.#commits) commit.isUrgent = false
    }
  }
}

const isFree = (commit: Writing) => !commit.isUnderWay

/**
 * A write and what makes it durable: by `fdatasync`, that is linked behind the write, so that it runs only
 * after a write that did all that was asked of it. A short write breaks the link (io_uring_enter(2),
 * IOSQE_IO_LINK): the rest is written on with a new sync behind it. By `dsync` each piece is durable by
 * itself. Undefined: nothing is.
 *
 * Made once and used for one commit after the other. Made anew for each, closures and lists of requests
 * held on to each other: V8 took them for long-lived, and each collection copied what was done long ago.
 */
class Writing {
  readonly #queue: RequestQueue
  readonly #file: { readonly name: string }
  readonly #onFinished: () => void
  readonly #write = new PlainOperation(IORING_OP_WRITE)
  readonly #sync: PlainOperation
  readonly #alone: readonly PlainOperation[]
  readonly #chain: readonly PlainOperation[]
  #buffer: DiskBuffer | undefined
  #offset = 0
  #length = 0
  #position = 0
  #mode: SyncMode | undefined
  #done: Done = ignore
  /** Bytes that are written, and that the write under way is to write. */
  #written = 0
  #rest = 0
  #writeResult: number | undefined
  #isUnderWay = false

  /** @param onFinished told before whoever began it */
  constructor(
    queue: RequestQueue,
    fd: number,
    file: { readonly name: string },
    onFinished: () => void,
  ) {
    this.#queue = queue
    this.#file = file
    this.#onFinished = onFinished
    this.#write.fd = fd
    this.#write.settle = result => this.#onWritten(result)
    this.#sync = syncRequest(fd, IORING_FSYNC_DATASYNC)
    this.#sync.settle = result => this.#onSynced(result)
    this.#alone = [this.#write]
    this.#chain = [this.#write, this.#sync]
  }

  get isUnderWay(): boolean {
    return this.#isUnderWay
  }

  /** Somebody blocks the thread for it. */
  set isUrgent(urgent: boolean) {
    this.#write.urgent = urgent
    this.#sync.urgent = urgent
  }

  begin(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    mode: SyncMode | undefined,
    isUrgent: boolean,
    done: Done,
  ): void {
    this.#buffer = buffer
    this.#offset = offset
    this.#length = length
    this.#position = position
    this.#mode = mode
    this.#done = done
    this.#isUnderWay = true
    this.isUrgent = isUrgent
    this.#written = 0
    this.#push()
  }

  /** Writes from what is written on. */
  #push(): void {
    const at = resumeAt(this.#written)
    const write = this.#write
    const mode = this.#mode
    this.#rest = this.#length - at
    this.#writeResult = undefined
    write.memory = this.#buffer!.memory.id
    write.memoryOffset = this.#offset + at
    write.length = this.#rest
    write.offset = this.#position + at
    write.opFlags = mode === 'dsync' ? RWF_DSYNC : 0
    write.sqeFlags = mode === 'fdatasync' ? IOSQE_IO_LINK : 0
    write.quietResult = mode === 'fdatasync' ? this.#rest : NEVER_QUIET
    try {
      // Who commits has nothing more to add: waiting for the end of the turn would only cost time.
      if (mode === undefined) this.#queue.push(this.#alone)
      else this.#queue.pushNow(mode === 'fdatasync' ? this.#chain : this.#alone)
    } catch (error) {
      this.#finish(error as Error)
    }
  }

  #onWritten(result: number): void {
    if (this.#mode === 'fdatasync') this.#writeResult = result
    else this.#afterWrite(result)
  }

  /** The last of a chain completes last, also when the kernel cancels it. */
  #onSynced(result: number): void {
    if (this.#writeResult === undefined) this.#finish(new SystemError(-5, 'write', this.#file.name))
    else if (this.#writeResult !== this.#rest) this.#afterWrite(this.#writeResult)
    else this.#finish(this.#errorOf(result, 'fdatasync'))
  }

  #afterWrite(result: number): void {
    if (result < 0 && !isTransient(result)) {
      this.#finish(this.#errorOf(result, 'write'))
      return
    }
    if (result === this.#rest) {
      this.#finish(undefined)
      return
    }
    try {
      const after = resumeAt(this.#written) + result
      if (result >= 0) this.#written = progress(this.#written, after, this.#file.name)
    } catch (stuck) {
      this.#finish(stuck as Error)
      return
    }
    this.#push()
  }

  #errorOf(result: number, syscall: string): Error | undefined {
    return result < 0 ? new SystemError(result, syscall, this.#file.name) : undefined
  }

  /** Whoever is told may begin the next one with this very object. */
  #finish(error: Error | undefined): void {
    const done = this.#done
    this.#done = ignore
    this.#buffer = undefined
    this.#isUnderWay = false
    this.#onFinished()
    done(error)
  }
}

function ignore(): void {}

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
