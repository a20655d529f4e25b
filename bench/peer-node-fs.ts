/**
 * What a careful Node program does without riolog: group commit in JavaScript over a FileHandle, with
 * O_DIRECT into a file that was written full of zeros, and fdatasync. No checksums, no recovery.
 */
import { constants, type FileHandle, open, unlink } from 'node:fs/promises'
import type { Appender } from './closed-loop.ts'

/** Of the lib that declares it we need nothing else. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } }

const BLOCK = 4096
const FILE_BYTES = 64 << 20
/** What the callers may append while a group is written. */
const GROUP_BYTES = 16 << 20
/** Of an ingest: as long as a write of riolog and of the C program. */
const INGEST_BYTES = 1 << 20

export function alignedBuffer(bytes: number): Buffer {
  // Node's own buffers are not aligned as O_DIRECT asks; WebAssembly memory starts on a page.
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) })
  return Buffer.from(memory.buffer, 0, bytes)
}

/** The file is written full of zeros before the clock starts, and written over from its start again. */
export async function openNodeFs(path: string): Promise<NodeFs> {
  const { O_RDWR, O_CREAT, O_TRUNC, O_DIRECT } = constants
  const file = await open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0o600)
  const zeros = alignedBuffer(1 << 20)
  for (let at = 0; at < FILE_BYTES; at += zeros.length) await file.write(zeros, 0, zeros.length, at)
  await file.sync()
  return new NodeFs(file, path)
}

export class NodeFs implements Appender {
  readonly name = 'node:fs, group commit'
  readonly #file: FileHandle
  readonly #path: string
  readonly #groups = [alignedBuffer(GROUP_BYTES), alignedBuffer(GROUP_BYTES)]
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

  /** So many records, and one sync at the end: one buffer is filled while the other one is written. */
  async ingest(record: Uint8Array, count: number): Promise<void> {
    let written: Promise<unknown> = Promise.resolve()
    for (let left = count; left > 0; ) {
      const group = this.#groups[this.#filling]
      let fill = 0
      for (; left > 0 && fill + 4 + record.length <= INGEST_BYTES; left--) {
        group.writeUInt32LE(record.length, fill)
        group.set(record, fill + 4)
        fill += 4 + record.length
      }
      await written
      const length = Math.ceil(fill / BLOCK) * BLOCK
      if (this.#position + length > FILE_BYTES) this.#position = 0
      written = this.#file.write(group, 0, length, this.#position)
      this.#position += length
      this.#filling = 1 - this.#filling
    }
    await written
    await this.#file.datasync()
  }

  async close(): Promise<void> {
    await this.#file.close()
    await unlink(this.#path)
  }
}
