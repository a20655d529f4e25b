/**
 * Checkpoint files on a simulated device, beside the log's: one power cut takes from both. The device takes
 * whole blocks, so each write is a frame: its length, its bytes, and what is left of the last block.
 */
import type { CheckpointFile, CheckpointFiles } from '../../examples/kv/src/checkpoint-files.ts'
import { allocateBuffer } from '../../src/disk/buffer.ts'
import type { DiskDirectory, DiskFile } from '../../src/disk/disk.ts'
import { type SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'

const BLOCK = 4096
const LENGTH_BYTES = 4

function frameBytes(length: number): number {
  return Math.ceil((LENGTH_BYTES + length) / BLOCK) * BLOCK
}

/** A safeguard that is left out, to see that it is missed. */
export type Fault = 'no file sync' | 'no directory sync'

export class SimulatedFiles implements CheckpointFiles {
  readonly #directory: Promise<DiskDirectory>
  readonly #fault: Fault | undefined

  constructor(device: SimulatedDevice, fault?: Fault) {
    this.#fault = fault
    this.#directory = new SimulatedDisk(device).openDirectory('simulated')
  }

  async list(): Promise<string[]> {
    return (await this.#directory).list()
  }

  async create(name: string): Promise<CheckpointFile> {
    const directory = await this.#directory
    if ((await directory.list()).includes(name)) await directory.unlink(name)
    const file = await directory.open(name, 'createNew', 0o600)
    return new SimulatedFile(directory, file, this.#fault)
  }

  async *read(name: string): AsyncGenerator<Buffer> {
    const file = await (await this.#directory).open(name, 'read', 0o600)
    const buffer = allocateBuffer(frameBytes(file.size()))
    const length = await file.read(buffer, 0, buffer.bytes.length, 0)
    file.close()
    const bytes = Buffer.from(buffer.bytes.subarray(0, length))
    for (let at = 0; at + LENGTH_BYTES <= bytes.length; ) {
      const frame = bytes.readUInt32LE(at)
      yield bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + frame)
      at += frameBytes(frame)
    }
  }

  async remove(name: string): Promise<void> {
    await (await this.#directory).unlink(name)
  }
}

class SimulatedFile implements CheckpointFile {
  readonly #directory: DiskDirectory
  readonly #file: DiskFile
  readonly #fault: Fault | undefined
  #end = 0

  constructor(directory: DiskDirectory, file: DiskFile, fault: Fault | undefined) {
    this.#fault = fault
    this.#directory = directory
    this.#file = file
  }

  async write(bytes: Buffer): Promise<void> {
    const length = frameBytes(bytes.length)
    const buffer = allocateBuffer(length)
    new DataView(buffer.memory.buffer).setUint32(0, bytes.length, true)
    buffer.bytes.set(bytes, LENGTH_BYTES)
    await this.#file.write(buffer, 0, length, this.#end)
    this.#end += length
  }

  async publish(name: string): Promise<void> {
    if (this.#fault !== 'no file sync') await this.#file.sync()
    await this.#directory.rename(this.#file, name)
    if (this.#fault !== 'no directory sync') await this.#directory.sync()
  }

  async close(): Promise<void> {
    this.#file.close()
  }
}
