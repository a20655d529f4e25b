import { RiologError } from '../errors.ts'
import type { Disk } from './disk.ts'
import { ThreadPoolDisk } from './threadpool.ts'
import { UringDisk } from './uring.ts'

export type EngineChoice = 'auto' | 'uring' | 'threadpool'

let warned = false

/**
 * `auto` takes io_uring where it can be had, else the thread pool, with one warning a process
 * (`process.on('warning')`, code `RIOLOG_THREADPOOL`) that names the true reason and its remedy.
 * @throws ERR_RIOLOG_NO_IO_URING when `uring` is asked for and cannot be had
 */
export function chooseDisk(choice: EngineChoice): Disk {
  if (choice === 'threadpool') return new ThreadPoolDisk()
  try {
    return new UringDisk()
  } catch (error) {
    const fallBack =
      choice === 'auto' && error instanceof RiologError && error.code === 'ERR_RIOLOG_NO_IO_URING'
    if (!fallBack) throw error
    if (!warned) {
      warned = true
      process.emitWarning(`riolog uses the thread pool: ${error.message}`, {
        type: 'RiologWarning',
        code: 'RIOLOG_THREADPOOL',
      })
    }
    return new ThreadPoolDisk()
  }
}
