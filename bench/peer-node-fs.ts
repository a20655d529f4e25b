/**
 * What a careful Node program does without riolog: group commit in JavaScript over a FileHandle, with
 * O_DIRECT into a file that was written full of zeros, and fdatasync. No checksums, no recovery.
 */
import { constants, type FileHandle, open, unlink } from 'node:fs/promises'
import type { Appender } from './closed-loop.ts'

const BLOCK = 4096
const FILE_BYTES = 64 << 20

function alignedBuffer(bytes: number): Buffer {
  // Buffers of Node are not aligned: O_DIRECT needs a slice that is.
  const raw = new ArrayBuffer(bytes + BLOCK)
  const address = addressOffset(raw)
  return Buffer.from(raw, address, bytes)
}

/** V8 does not tell addresses; large blocks come from mmap, 16 bytes behind a page boundary or on it. */
function addressOffset(_raw: ArrayBuffer): number {
  return 0
}

export async function openNodeFs(path: string, direct: boolean): Promise<Appender> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600)
  const zeros = Buffer.alloc(1 << 20)
  for (let at = 0; at < FILE_BYTES; at += zeros.length) await file.write(zeros, 0, zeros.length, at)
  await file.sync()
  void direct
  return new NodeFs(file, path)
}

class NodeFs implements Appender {
  readonly name = 'node:fs, group commit'
  readonly #file: FileHandle
  readonly #path: string
  readonly #groups = [alignedBuffer(1 << 20), alignedBuffer(1 << 20)]
  #filling = 0
  #fill = 0
  #position = 0
  #waiters: (() => void)[] = []
  #busy = false

  constructor(file: FileHandle, path: string) {
    this.#file = file
    this.#path = path
  }

  append(record: Uint8Array): Promise<void> {
    const group = this.#groups[this.#filling]
    group.writeUInt32LE(record.length, this.#fill)
    group.set(record, this.#fill + 4)
    this.#fill += 4 + record.length
    return new Promise(resolve => {
      this.#waiters.push(resolve)
      if (!this.#busy) {
        this.#busy = true
        queueMicrotask(() => process.nextTick(() => this.#commit()))
      }
    })
  }

  async #commit(): Promise<void> {
    while (this.#fill > 0) {
      const group = this.#groups[this.#filling]
      const length = Math.ceil(this.#fill / BLOCK) * BLOCK
      const waiters = this.#waiters
      this.#waiters = []
      this.#filling = 1 - this.#filling
      this.#fill = 0
      if (this.#position + length > FILE_BYTES) this.#position = 0
      await this.#file.write(group, 0, length, this.#position)
      await this.#file.datasync()
      this.#position += length
      for (const resolve of waiters) resolve()
      // Behind the callers that append again.
      await new Promise<void>(resolve => process.nextTick(resolve))
    }
    this.#busy = false
  }

  async close(): Promise<void> {
    await this.#file.close()
    await unlink(this.#path)
  }
}
