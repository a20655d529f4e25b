/**
 * Where checkpoints are kept. The store knows this interface only, so that its tests can cut the power
 * under checkpoint and log alike.
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'

export interface CheckpointFiles {
  list(): Promise<string[]>
  /** A new file, which replaces one of its name. */
  create(name: string): Promise<CheckpointFile>
  read(name: string): AsyncIterable<Buffer>
  remove(name: string): Promise<void>
}

export interface CheckpointFile {
  write(bytes: Buffer): Promise<void>
  /** Makes the file durable, and then gives it another name, durable too when this resolves. */
  publish(name: string): Promise<void>
  /** Lets go of it, whatever has become of it. */
  close(): Promise<void>
}

export class DirectoryFiles implements CheckpointFiles {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  async list(): Promise<string[]> {
    await mkdir(this.#path, { recursive: true, mode: 0o700 })
    return readdir(this.#path)
  }

  async create(name: string): Promise<CheckpointFile> {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
    const path = join(this.#path, name)
    const file = await open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
    return new NewFile(this.#path, path, file)
  }

  async *read(name: string): AsyncGenerator<Buffer> {
    await using file = await open(join(this.#path, name), constants.O_RDONLY | constants.O_NOFOLLOW)
    const buffer = Buffer.allocUnsafe(256 * 1024)
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length)
      if (bytesRead === 0) return
      yield Buffer.from(buffer.subarray(0, bytesRead))
    }
  }

  remove(name: string): Promise<void> {
    return unlink(join(this.#path, name))
  }
}

class NewFile implements CheckpointFile {
  readonly #directory: string
  readonly #path: string
  readonly #file: FileHandle

  constructor(directory: string, path: string, file: FileHandle) {
    this.#directory = directory
    this.#path = path
    this.#file = file
  }

  async write(bytes: Buffer): Promise<void> {
    let rest = bytes
    while (rest.length > 0) {
      const { bytesWritten } = await this.#file.write(rest)
      rest = rest.subarray(bytesWritten)
    }
  }

  async publish(name: string): Promise<void> {
    // Before the name: a file that has it is whole.
    await this.#file.sync()
    await rename(this.#path, join(this.#directory, name))
    await using directory = await open(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY)
    await directory.sync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
