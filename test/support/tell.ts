/** What a process tells before it is killed. */
import { writeSync } from 'node:fs'

const STDOUT = 1
const PAUSE_MS = 1
const never = new Int32Array(new SharedArrayBuffer(4))

/**
 * Writes a line to standard output. Once this returns the pipe has all of it, and a kill cannot take it back; while
 * whoever reads does not keep up and the pipe is full, it waits.
 */
export function tellLine(line: string): void {
  let rest: Uint8Array = Buffer.from(`${line}\n`)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(STDOUT, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(never, 0, 0, PAUSE_MS)
    }
  }
}
