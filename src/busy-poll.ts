/**
 * Busy polling (as SO_BUSY_POLL of socket(7), of an event loop): while a commit is awaited the thread asks for its completion
 * again and again, and does not sleep. To be woken costs a commit a fifth to a third of its time where the CPU goes idle
 * meanwhile, since that is left only by an interrupt, and in a virtual machine by its host (docs/DECISIONS.md).
 */
import { readFileSync } from 'node:fs'
import { addon, BUSY_POLL, type BusyPollBinding } from './native.ts'

/** Of a thread, whoever in it asks. */
export interface BusyPoll {
  /** Something is awaited from now on that comes soon: for a millisecond at most the event loop does not sleep. */
  begin(): void
  /** It is there. To be called once for each {@link begin}. */
  end(): void
}

/** Where the disk takes longer, a wake-up is a small part of it. */
const MOST_US = 1000

/** @internal Of the thread that makes it. */
export class EventLoopBusyPoll implements BusyPoll {
  readonly #mostUs: number
  /** Native code looks here in each turn of the loop: in a closed loop no call is needed. */
  readonly #words = new Uint32Array(BUSY_POLL.words)
  #binding: BusyPollBinding | undefined
  #awaited = 0
  #wish = 0

  /** @param mostUs microseconds behind a {@link begin} for which the loop does not sleep */
  constructor(mostUs: number) {
    this.#mostUs = mostUs
  }

  begin(): void {
    const words = this.#words
    this.#awaited++
    this.#wish = (this.#wish + 1) >>> 0 || 1
    words[BUSY_POLL.wanted] = this.#wish
    if (words[BUSY_POLL.running] !== 0) return
    try {
      this.#binding ??= new (addon().BusyPoll)(words.buffer as ArrayBuffer, this.#mostUs)
    } catch {
      // No memory: then the loop sleeps, as it always did. Whoever commits has to get on.
      return
    }
    words[BUSY_POLL.running] = 1
    this.#binding.start()
  }

  end(): void {
    this.#awaited--
    if (this.#awaited === 0) this.#words[BUSY_POLL.wanted] = 0
  }
}

/** Of this thread: a module is loaded once for each. */
export const EVENT_LOOP_BUSY_POLL: BusyPoll = new EventLoopBusyPoll(MOST_US)

let doubt: { readonly reason: string | undefined } | undefined

/** Why this process had better sleep, unless it is told otherwise; looked at once. */
export function doubtsBusyPoll(): string | undefined {
  doubt ??= { reason: whyNotBusyPoll(readIfThere) }
  return doubt.reason
}

/**
 * Under a quota (cgroups(7)) the time that polling takes is lost to what is to be done: when it is used up, the process
 * stands still for the rest of a period. What no comparison of commits would show before.
 * @param read what a file of the system holds, undefined where there is none
 */
export function whyNotBusyPoll(read: (path: string) => string | undefined): string | undefined {
  const file = quotaFiles(read('/proc/self/cgroup') ?? '').find(path => hasQuota(read(path)))
  return file === undefined ? undefined : `the CPU time of this process has a quota (${file})`
}

function hasQuota(text: string | undefined): boolean {
  const [quota] = (text ?? 'max').split(/\s/)
  return quota !== 'max' && quota !== '-1'
}

/** Of the process' own group and those around it: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1. */
function quotaFiles(cgroups: string): string[] {
  const files: string[] = []
  for (const line of cgroups.split('\n')) {
    const [id, controllers, path] = line.split(':', 3)
    if (path === undefined) continue
    const isOfVersion2 = id === '0' && controllers === ''
    if (!isOfVersion2 && !controllers.split(',').includes('cpu')) continue
    const [root, name] = isOfVersion2
      ? ['/sys/fs/cgroup', 'cpu.max']
      : [`/sys/fs/cgroup/${controllers}`, 'cpu.cfs_quota_us']
    const parts = path.split('/').filter(part => part !== '')
    for (let count = parts.length; count >= 0; count--) {
      files.push([root, ...parts.slice(0, count), name].join('/'))
    }
  }
  return files
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
