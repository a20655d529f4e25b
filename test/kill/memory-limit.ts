/** A limit on the memory of one process, by a control group of its own: version 2 or 1, whichever there is. */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Beyond what it has when it is limited. */
const LIMIT_BYTES = 48 << 20

interface Layout {
  readonly root: string
  readonly limitFile: string
  /** Has a line `oom_kill N`. */
  readonly eventsFile: string
}

export interface MemoryLimit {
  /** True when the kernel has ended a process for its memory. Removes the group. */
  end(): boolean
}

export class MemoryLimits {
  readonly #layout: Layout
  #count = 0

  private constructor(layout: Layout) {
    this.#layout = layout
  }

  /** Or why there are none: it takes root, and a memory controller that is mounted. */
  static find(): MemoryLimits | { readonly reason: string } {
    const tried: string[] = []
    for (const layout of layouts()) {
      const limits = new MemoryLimits(layout)
      try {
        limits.#make().remove()
        return limits
      } catch (error) {
        tried.push((error as Error).message)
      }
    }
    return { reason: `no memory controller: ${tried.join('; ') || 'none is mounted'}` }
  }

  limit(pid: number): MemoryLimit {
    const { path, remove } = this.#make()
    writeFileSync(join(path, 'cgroup.procs'), String(pid))
    const { eventsFile } = this.#layout
    return {
      end: () => {
        const events = readFileSync(join(path, eventsFile), 'utf8')
        remove()
        return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0) > 0
      },
    }
  }

  #make() {
    const { root, limitFile } = this.#layout
    const path = join(root, `riolog-kill-${process.pid}-${this.#count++}`)
    mkdirSync(path)
    const remove = () => rmdirSync(path)
    try {
      writeFileSync(join(path, limitFile), String(LIMIT_BYTES))
    } catch (error) {
      remove()
      throw error
    }
    return { path, remove }
  }
}

function layouts(): Layout[] {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n')
  return mounts.flatMap(line => {
    const [, root, type, options] = line.split(' ')
    if (type === 'cgroup2') return { root, limitFile: 'memory.max', eventsFile: 'memory.events' }
    if (type !== 'cgroup' || !options.split(',').includes('memory')) return []
    return { root, limitFile: 'memory.limit_in_bytes', eventsFile: 'memory.oom_control' }
  })
}
