/** The engine on a simulated device. */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { Disk, DiskDirectory, DiskFile, OpenHow } from '../disk.ts'
import type { SimulatedDevice } from './device.ts'
import { SimulatedFile } from './file.ts'
import { Port } from './port.ts'
import { EVENT_LOOP, type Scheduler } from './scheduler.ts'

/** Where a simulated disk has its time and its chance from. */
export interface Simulation {
  /** When things happen; turns of the real event loop, unless told. */
  readonly scheduler?: Scheduler
  /** For salts and UUIDs; the system's, unless told. */
  readonly randomBytes?: (count: number) => Uint8Array
}

/** A disk in memory, for logs to be tested on. */
export class SimulatedDisk implements Disk {
  readonly engine = 'simulated'
  /** What it is made of. */
  readonly device: SimulatedDevice
  readonly clock: Clock
  readonly busyPoll = undefined
  readonly doubtsBusyPoll = undefined
  readonly #scheduler: Scheduler
  readonly #randomBytes: (count: number) => Uint8Array

  /** A disk made of a device: a new one, or what a crash has left of another. */
  constructor(device: SimulatedDevice, simulation: Simulation = {}) {
    this.device = device
    this.#scheduler = simulation.scheduler ?? EVENT_LOOP
    this.clock = this.#scheduler.clock
    this.#randomBytes = simulation.randomBytes ?? randomBytes
  }

  async openDirectory(path: string): Promise<DiskDirectory> {
    return new SimulatedDirectory(new Port(this.device, this.#scheduler), path)
  }

  /** Never over where the power was cut meanwhile, as no operation is: who waits for the disk in pauses would go on for ever. */
  async pause(milliseconds: number): Promise<void> {
    await this.#scheduler.pause(milliseconds)
    if (this.device.isOff) await new Promise<never>(() => {})
  }

  randomBytes(count: number): Uint8Array {
    return this.#randomBytes(count)
  }

  async close(): Promise<void> {}
}

class SimulatedDirectory implements DiskDirectory {
  readonly path: string
  readonly doubtsDsync = undefined
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
