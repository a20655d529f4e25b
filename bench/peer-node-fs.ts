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

function alignedBuffer(bytes: number): Buffer {
  // Node's own buffers are not aligned as O_DIRECT asks; WebAssembly memory starts on a page.
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) })
  return Buffer.from(memory.buffer, 0, bytes)
}

/** The file is written full of zeros before the clock starts, and written over from its start again. */
export async function openNodeFs(path: string): Promise<Appender> {
  const { O_RDWR, O_CREAT, O_TRUNC, O_DIRECT } = constants
  const file = await open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0o600)
  const zeros = alignedBuffer(1 << 20)
  for (let at = 0; at < FILE_BYTES; at += zeros.length) await file.write(zeros, 0, zeros.length, at)
  await file.sync()
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
