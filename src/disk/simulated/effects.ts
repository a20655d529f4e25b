/** What can be done to an operation of a simulated disk before it takes place. */
import { SystemError } from '../../errors.ts'

export const ENOENT = -2
export const EIO = -5
export const EEXIST = -17
export const EINVAL = -22
export const ENOSPC = -28

/** Operations of a simulated disk. */
export type OperationKind =
  | 'open'
  | 'read'
  | 'write'
  | 'sync'
  | 'unlink'
  | 'rename'
  | 'syncDirectory'
  | 'list'

/** What is about to happen, for whoever injects faults or cuts the power. */
export interface SimulatedOperation {
  /** What it is. */
  readonly kind: OperationKind
  /** The file; empty for the directory. */
  readonly name: string
  /** Where in the file, in bytes. */
  readonly position: number
  /** How many bytes. */
  readonly length: number
  /** Counts all operations of the device. */
  readonly index: number
}

/**
 * What happens instead of what was asked for.
 *
 * - `short`: the device writes so many bytes only; the engine writes the rest in another operation
 * - `again`: nothing happens (EINTR, EAGAIN); the engine asks again
 * - `lost`: a write that is said to be done, and is not
 * - `misdirected`: a write that lands at another place, and is said to be done
 * - `late`: the write is dropped by the write-back; the file's next sync tells with this error
 * - `slow`: the answer comes so many milliseconds later
 * - `stuck`: it takes place, and the answer never comes
 */
export type Effect =
  | { readonly kind: 'short'; readonly bytes: number }
  | { readonly kind: 'again' | 'lost' | 'stuck' }
  | { readonly kind: 'misdirected'; readonly name: string; readonly position: number }
  | { readonly kind: 'late'; readonly error: Error }
  | { readonly kind: 'slow'; readonly milliseconds: number }

/** An error to fail with (nothing has happened then), another effect, or undefined to go on. */
export type Interference = (operation: SimulatedOperation) => Error | Effect | undefined

/** What every operation fails with once the power is cut. */
export class PowerCut extends Error {
  /** @internal */
  constructor() {
    super('the power is cut')
  }
}

/** An error for an {@link Interference} to fail with. */
export function ioError(syscall = 'fdatasync'): SystemError {
  return new SystemError(EIO, syscall)
}
