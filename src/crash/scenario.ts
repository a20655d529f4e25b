/** What a test author writes, and what the harness hands to it. */
import type { Clock } from '../disk/clock.ts'
import type { Disk } from '../disk/disk.ts'
import type { SimulatedDevice } from '../disk/simulated/device.ts'
import type { Log } from '../log/log.ts'
import type { LogOptions } from '../log/options.ts'
import type { Fault } from './faults.ts'
import type { Random } from './random.ts'

/** What the harness hands to a workload and to a verification. */
export interface CrashContext {
  /**
   * The simulated disk, as the log sees it; it has one directory, of any path. Who waits with timers takes
   * those of its clock: others never run.
   */
  readonly disk: Disk
  /** What that disk is made of, to look at its files. */
  readonly device: SimulatedDevice
  /** The disk's own time. */
  readonly clock: Clock
  /** The same choices whenever the same plan runs. */
  readonly random: Random
  /** Faults of this life, besides the crash. */
  readonly faults: readonly Fault[]
  /** Opens a log on the disk, with segments of 64 KiB unless the options say otherwise. */
  open(options?: LogOptions): Promise<Log>
  /** Waits for the disk's time, in milliseconds, to pass. */
  sleep(milliseconds: number): Promise<void>
  /** Remembers something that happened: it is in `history` of every verification of a later crash. */
  note(event: unknown): void
  /** All that was noted or acknowledged before the crash, oldest first, in all lives. */
  readonly history: readonly unknown[]
}

/** What `workload` gets. */
export interface WorkloadContext<S = unknown> extends CrashContext {
  /** 0 for the first; each one after it goes on with what a crash has left. */
  readonly life: number
  /** What `steps` of the scenario gave for this life. */
  readonly steps: readonly S[]
  /** The program has promised this to somebody outside: it must survive from now on. */
  acknowledge(value: unknown): void
}

/** What `verify` gets. */
export interface VerifyContext extends CrashContext {
  /** What was acknowledged before the crash, oldest first. */
  readonly acknowledged: readonly unknown[]
  /** Something that was durable may be damaged: a coded error of riolog's is as good as the data. */
  readonly isDamaged: boolean
}

/** A program to cut the power under, and how to judge what is left. */
export interface Scenario<S = unknown> {
  /** Runs until the power is cut, or it ends. */
  workload(context: WorkloadContext<S>): Promise<void>
  /** Opens what a crash has left and throws when something is wrong. */
  verify(context: VerifyContext): Promise<void>
  /** What the workload is to do, as plain objects: a failing run is reduced to the fewest of them. */
  steps?(random: Random, life: number): readonly S[]
}
