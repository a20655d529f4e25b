/** A file of a simulated disk, as the engines that are real have it. */
import { SystemError } from '../../errors.ts'
import type { DiskBuffer, DiskFile, SyncMode } from '../disk.ts'
import type { SimulatedDevice } from './device.ts'
import { type Effect, EINVAL, PowerCut } from './effects.ts'
import { BLOCK_BYTES, type Inode } from './inode.ts'
import type { Port } from './port.ts'

export class SimulatedFile implements DiskFile {
  name: string
  readonly direct: boolean
  readonly #port: Port
  readonly #device: SimulatedDevice
  readonly #inode: Inode
  #hasLock = false
  /** Finish what is left of a commit at once. */
  readonly #commits: (() => void)[] = []

  constructor(port: Port, inode: Inode, name: string) {
    this.#port = port
    this.#device = port.device
    this.#inode = inode
    this.direct = !port.device.hasPageCache
    this.name = name
  }

  size(): number {
    return this.#inode.size
  }

  alignment(): number {
    return BLOCK_BYTES
  }

  tryLock(): boolean {
    if (this.#inode.locked) return this.#hasLock
    this.#inode.locked = true
    this.#hasLock = true
    return true
  }

  lockHolder(): number | undefined {
    return this.#inode.locked ? process.pid : undefined
  }

  isNamed(): boolean {
    return this.#device.lookUp(this.name) === this.#inode
  }

  links(): number {
    return this.#device.linksOf(this.#inode)
  }

  async forgetCache(): Promise<void> {
    if (this.direct) return
    await this.sync()
    this.#inode.dropCache()
  }

  read(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<number> {
    return this.#port.later(() => this.#readOnce(buffer, offset, length, position), true)
  }

  readBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): number {
    if (!this.direct) this.#inode.dropCache()
    return this.#readOnce(buffer, offset, length, position)
  }

  #readOnce(buffer: DiskBuffer, offset: number, length: number, position: number): number {
    checkDirect(buffer, offset, length, position)
    const into = buffer.bytes.subarray(offset, offset + length)
    const read = () => this.#inode.read(into, position)
    return this.#port.ask('read', this.name, read, position, length)
  }

  /** As zeros that are written: a power cut may leave any part of them. */
  allocate(position: number, length: number): Promise<boolean> {
    return this.#port.later(() => {
      this.#writeAll(new Uint8Array(length), position)
      return true
    })
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return this.#port.later(() => this.writeBlocking(buffer, offset, length, position))
  }

  writeBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): void {
    checkDirect(buffer, offset, length, position)
    this.#writeAll(buffer.bytes.subarray(offset, offset + length), position)
  }

  /** Goes on behind a short write, as an engine does. */
  #writeAll(bytes: Uint8Array, position: number): void {
    let written = 0
    while (written < bytes.length) {
      const at = position + written
      const rest = bytes.subarray(written)
      const write = (effect?: Effect) => this.#writeOnce(rest, at, effect)
      written += this.#port.ask('write', this.name, write, at, rest.length)
    }
  }

  /** Returns what is said to be written. */
  #writeOnce(bytes: Uint8Array, position: number, effect: Effect | undefined): number {
    const { length } = bytes
    const device = this.#device
    if (effect?.kind === 'lost') return length
    if (effect?.kind === 'misdirected') {
      const other = device.lookUp(effect.name)
      if (other !== undefined) device.write(other, bytes, effect.position)
      return length
    }
    const written = effect?.kind === 'short' ? Math.min(effect.bytes, length) : length
    device.write(this.#inode, bytes.subarray(0, written), position)
    if (effect?.kind === 'late') {
      device.failSync(this.#inode)
      this.#inode.lateError = effect.error
    }
    return written
  }

  sync(): Promise<void> {
    const upTo = this.#device.writes
    return this.#port.later(() => this.#sync(0, Number.POSITIVE_INFINITY, upTo))
  }

  syncBlocking(): void {
    this.#sync(0, Number.POSITIVE_INFINITY, this.#device.writes)
  }

  /** @param upTo the last write that was done when the sync was asked for: later ones it need not reach */
  #sync(from: number, length: number, upTo: number): void {
    try {
      this.#port.ask('sync', this.name, () => this.#tellLate(), from, length)
    } catch (error) {
      if (!(error instanceof PowerCut)) this.#device.failSync(this.#inode)
      throw error
    }
    this.#device.sync(this.#inode, from, length, upTo)
  }

  #tellLate(): void {
    const { lateError } = this.#inode
    this.#inode.lateError = undefined
    if (lateError !== undefined) throw lateError
  }

  commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: (error: Error | undefined) => void,
  ): void {
    const steps = [
      () => this.writeBlocking(buffer, offset, length, position),
      () => this.#syncCommitted(sync, position, length),
    ]
    let failure: Error | undefined
    const finish = () => {
      const at = this.#commits.indexOf(finishNow)
      if (at < 0) return
      this.#commits.splice(at, 1)
      done(failure)
    }
    // What fails ends the commit: who holds up the thread from here on must not go on to the sync.
    const step = () => {
      try {
        steps.shift()?.()
      } catch (error) {
        // Nothing completes any more, so whoever waits must not go on as if it had.
        if (error instanceof PowerCut) throw error
        failure = error as Error
        steps.length = 0
      }
    }
    const finishNow = () => {
      while (steps.length > 0) step()
      // Whoever caught the power cut and waits again is not told that it was done.
      if (this.#device.isOff) throw new PowerCut()
      finish()
    }
    this.#commits.push(finishNow)
    const stepLater = () => this.#port.later(step)
    stepLater()
      .then(() => (steps.length > 0 ? stepLater() : undefined))
      .then(finish)
  }

  /** What it does needs nobody's thread. */
  letGoOn(): void {}

  waitForCommit(): void {
    this.#commits[0]()
  }

  #syncCommitted(sync: SyncMode, position: number, length: number): void {
    if (sync === 'fdatasync') this.syncBlocking()
    else this.#sync(position, length, this.#device.writes)
  }

  close(): void {
    if (this.#hasLock) this.#inode.locked = false
  }
}

/** As strict as O_DIRECT on the strictest device that riolog takes by default. */
function checkDirect(buffer: DiskBuffer, offset: number, length: number, position: number): void {
  const aligned =
    offset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0 && position % BLOCK_BYTES === 0
  if (!aligned || offset + length > buffer.bytes.length) throw new SystemError(EINVAL, 'io')
}
