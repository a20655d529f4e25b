/**
 * On which CPU a process begins a round. A commit is a chain of wake-ups, from the CPU that takes the disk's interrupts to
 * the thread that submitted it and back; where the two are different ones a commit takes up to twice as long here (docs/PROFILE.md).
 * A process that is left alone stays where it happened to start, for all of its rounds: luck, and not its own. So
 * in each round all contenders begin on the same CPU, in the next round on the next one, and are free to go from there.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** The CPUs that this process may run on, as `0-3,5` (proc(5), /proc/pid/status); undefined: the system does not tell. */
function allowedList(): string | undefined {
  try {
    const status = readFileSync('/proc/self/status', 'utf8')
    return /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1]
  } catch {
    return undefined
  }
}

export function cpusOf(list: string): number[] {
  return list.split(',').flatMap(part => {
    const [first, last = first] = part.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}

const ALLOWED = allowedList()
const CPUS = ALLOWED === undefined ? [] : cpusOf(ALLOWED)

/** Undefined where a process cannot be placed. */
export function cpuOf(round: number): number | undefined {
  return CPUS.length > 1 ? CPUS[round % CPUS.length] : undefined
}

/** Moves the main thread of a process there, and lets it go. Without taskset (util-linux) it stays where it is. */
export function place(pid: number | undefined, round: number): void {
  const cpu = cpuOf(round)
  if (cpu === undefined || pid === undefined) return
  try {
    for (const cpus of [String(cpu), ALLOWED!]) {
      execFileSync('taskset', ['-p', '-c', cpus, String(pid)], { stdio: 'ignore' })
    }
  } catch {
    // It may be over already, or there is no taskset: then the scheduler's choice counts.
  }
}
