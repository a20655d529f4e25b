/** A disk in memory, whose power can be cut, and each of whose operations can be made to fail. */
export { SimulatedDevice } from './simulated/device.ts'
export { SimulatedDisk, type Simulation } from './simulated/disk.ts'
export {
  type Effect,
  type Interference,
  ioError,
  type OperationKind,
  PowerCut,
  type SimulatedOperation,
} from './simulated/effects.ts'
export type {
  Fate,
  Outcome,
  SectorBytes,
  SectorFate,
  Survival,
  Unit,
} from './simulated/power-cut.ts'
export { EVENT_LOOP, type Scheduler } from './simulated/scheduler.ts'
export { type Choices, type Driven, VirtualTime } from './simulated/virtual-time.ts'
