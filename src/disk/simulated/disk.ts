/** The engine on a simulated device. */
import { randomBytes } from 'node:crypto'
import { SystemError } from '../../errors.ts'
import { MIN_ALIGNMENT } from '../../segment/format.ts'
import type { Clock } from '../clock.ts'
import type { Disk, DiskBuffer, DiskDirectory, DiskFile, OpenHow, SyncMode } from '../disk.ts'
import type { SimulatedDevice } from './device.ts'
import { type Effect, EINVAL, EIO, type OperationKind, PowerCut } from './effects.ts'
import type { Inode } from './inode.ts'
import { EVENT_LOOP, type Scheduler } from './scheduler.ts'

export interface Simulation {
  /** When things happen; turns of the real event loop, unless told. */
  readonly scheduler?: Scheduler
  /** For salts and UUIDs; the system's, unless told. */
  readonly randomBytes?: (count: number) => Uint8Array
}

/** How often an engine asks again before it gives up (EINTR, EAGAIN). */
const ATTEMPTS = 16

export class SimulatedDisk implements Disk {
  readonly engine = 'simulated'
  readonly device: SimulatedDevice
  readonly clock: Clock
  readonly #scheduler: Scheduler
  readonly #randomBytes: (count: number) => Uint8Array

  constructor(device: SimulatedDevice, simulation: Simulation = {}) {
    this.device = device
    this.#scheduler = simulation.scheduler ?? EVENT_LOOP
    this.clock = this.#scheduler.clock
    this.#randomBytes = simulation.randomBytes ?? randomBytes
  }

  async openDirectory(path: string): Promise<DiskDirectory> {
    return new SimulatedDirectory(new Port(this.device, this.#scheduler), path)
  }

  pause(milliseconds: number): Promise<void> {
    return this.#scheduler.pause(milliseconds)
  }

  randomBytes(count: number): Uint8Array {
    return this.#randomBytes(count)
  }

  async close(): Promise<void> {}
}

/** How operations come to a device, and the answers back. */
class Port {
  readonly device: SimulatedDevice
  readonly #scheduler: Scheduler
  #lateMs: number | undefined = 0

  constructor(device: SimulatedDevice, scheduler: Scheduler) {
    this.device = device
    this.#scheduler = scheduler
  }

  /** Takes place later, and is answered later still; never once the power is cut. */
  later<T>(run: () => T, isRead = false): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T
      let failure: unknown
      let failed = false
      const effect = () => {
        this.#lateMs = 0
        try {
          result = run()
        } catch (error) {
          if (error instanceof PowerCut) return undefined
          failure = error
          failed = true
        }
        return this.device.isOff && !failed ? undefined : this.#lateMs
      }
      this.#scheduler.operate(isRead, effect, () => {
        if (failed) reject(failure)
        else if (!this.device.isOff) resolve(result)
      })
    })
  }

  /**
   * Asks the device for something.
   * @param run does it, unless an effect that says otherwise is handed to it
   */
  ask<T>(kind: OperationKind, name: string, run: (effect?: Effect) => T, at = 0, length = 0): T {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const effect = this.device.enter(kind, name, at, length)
      if (effect?.kind === 'again') continue
      if (effect?.kind === 'stuck') this.#lateMs = undefined
      if (effect?.kind === 'slow' && this.#lateMs !== undefined) this.#lateMs += effect.milliseconds
      return run(effect)
    }
    throw new SystemError(EIO, kind, name)
  }
}

class SimulatedDirectory implements DiskDirectory {
  readonly path: string
  readonly #port: Port

  constructor(port: Port, path: string) {
    this.#port = port
    this.path = path
  }

  list(): Promise<string[]> {
    const port = this.#port
    return port.later(() => port.ask('list', '', () => port.device.names()), true)
  }

  open(name: string, how: OpenHow): Promise<DiskFile> {
    const port = this.#port
    const open = () => new SimulatedFile(port, port.device.open(name, how), name)
    return port.later(() => port.ask('open', name, open), true)
  }

  async openScratch(): Promise<undefined> {}

  unlink(name: string): Promise<void> {
    const port = this.#port
    return port.later(() => port.ask('unlink', name, () => port.device.unlink(name)))
  }

  rename(file: DiskFile, name: string): Promise<void> {
    const port = this.#port
    const rename = () => {
      port.device.rename(file.name, name)
      ;(file as SimulatedFile).name = name
    }
    return port.later(() => port.ask('rename', file.name, rename))
  }

  sync(): Promise<void> {
    return this.#port.later(() => this.syncBlocking())
  }

  syncBlocking(): void {
    this.#port.ask('syncDirectory', '', () => this.#port.device.syncNames())
  }

  async syncParent(): Promise<void> {}

  close(): void {}
}

class SimulatedFile implements DiskFile {
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
    return MIN_ALIGNMENT
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
    return this.#port.later(() => {
      checkDirect(buffer, offset, length, position)
      const into = buffer.bytes.subarray(offset, offset + length)
      const read = () => this.#inode.read(into, position)
      return this.#port.ask('read', this.name, read, position, length)
    }, true)
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return this.#port.later(() => this.writeBlocking(buffer, offset, length, position))
  }

  /** Goes on behind a short write, as an engine does. */
  writeBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): void {
    checkDirect(buffer, offset, length, position)
    let written = 0
    while (written < length) {
      const [at, rest] = [position + written, length - written]
      const bytes = buffer.bytes.subarray(offset + written, offset + length)
      const write = (effect?: Effect) => this.#writeOnce(bytes, at, effect)
      written += this.#port.ask('write', this.name, write, at, rest)
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
    const finish = (error?: Error) => {
      const at = this.#commits.indexOf(finishNow)
      if (at < 0) return
      this.#commits.splice(at, 1)
      done(error)
    }
    const finishNow = () => {
      try {
        while (steps.length > 0) steps.shift()!()
      } catch (error) {
        // Nothing completes any more, so whoever waits must not go on as if it had.
        if (error instanceof PowerCut) throw error
        return finish(error as Error)
      }
      finish()
    }
    this.#commits.push(finishNow)
    const step = () => this.#port.later(() => steps.shift()?.())
    step()
      .then(step)
      .then(() => finish(), finish)
  }

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
    offset % MIN_ALIGNMENT === 0 && length % MIN_ALIGNMENT === 0 && position % MIN_ALIGNMENT === 0
  if (!aligned || offset + length > buffer.bytes.length) throw new SystemError(EINVAL, 'io')
}
