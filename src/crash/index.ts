/// <reference types="node" preserve="true" />
/** The crash harness: `import { crashTest } from 'riolog/crash'`. */
export type { Disk, DiskBuffer, DiskDirectory, DiskFile } from '../disk/disk.ts'
export { SimulatedDevice } from '../disk/simulated/device.ts'
export { SimulatedDisk } from '../disk/simulated/disk.ts'
export type { Effect, Interference, SimulatedOperation } from '../disk/simulated/effects.ts'
export { ioError, PowerCut } from '../disk/simulated/effects.ts'
export { VirtualTime } from '../disk/simulated/virtual-time.ts'
export {
  CrashTestError,
  type CrashTestHooks,
  type CrashTestOptions,
  type CrashTestSummary,
  crashTest,
  replayCrash,
} from './crash-test.ts'
export type { Run } from './explore.ts'
export { FAULT_KINDS, type Fault, type FaultKind } from './faults.ts'
export type { Survivors } from './image.ts'
export { LOG_SCENARIO } from './log/scenario.ts'
export type { Plan, PlannedLife } from './plan.ts'
export { Random } from './random.ts'
export type { CrashContext, Scenario, VerifyContext, WorkloadContext } from './scenario.ts'
export { pastedTest, traceOf } from './trace.ts'
