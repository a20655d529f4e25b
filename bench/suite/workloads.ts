/** YCSB's six core workloads, and how they choose a record. */

export type Kind = 'read' | 'update' | 'insert' | 'scan' | 'modify'
export const DISTRIBUTIONS = ['uniform', 'zipfian'] as const
export type Distribution = (typeof DISTRIBUTIONS)[number]

export interface Workload {
  readonly name: string
  readonly mix: readonly (readonly [kind: Kind, share: number])[]
  /** Recent records more often: workload D. */
  readonly latest?: boolean
}

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'A',
    mix: [
      ['read', 0.5],
      ['update', 0.5],
    ],
  },
  {
    name: 'B',
    mix: [
      ['read', 0.95],
      ['update', 0.05],
    ],
  },
  { name: 'C', mix: [['read', 1]] },
  {
    name: 'D',
    mix: [
      ['read', 0.95],
      ['insert', 0.05],
    ],
    latest: true,
  },
  {
    name: 'E',
    mix: [
      ['scan', 0.95],
      ['insert', 0.05],
    ],
  },
  {
    name: 'F',
    mix: [
      ['read', 0.5],
      ['modify', 0.5],
    ],
  },
]

export function kindOf({ mix }: Workload): Kind {
  let rest = Math.random()
  for (const [kind, share] of mix) if ((rest -= share) < 0) return kind
  return mix[0][0]
}

/** The skew that YCSB has by default. */
const THETA = 0.99

/** Ranks from 0 on, of which each comes 1 / (rank + 1) ** THETA as often as the first. */
export class Zipfian {
  readonly #sums: Float64Array

  constructor(count: number) {
    this.#sums = new Float64Array(count)
    let sum = 0
    for (let i = 0; i < count; i++) this.#sums[i] = sum += 1 / (i + 1) ** THETA
  }

  next(): number {
    const sums = this.#sums
    const wanted = Math.random() * sums[sums.length - 1]
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle] > wanted) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Chooses one of `count` records, of which the last is the newest. */
export class Chooser {
  readonly #zipfian: Zipfian
  readonly #distribution: Distribution
  readonly #latest: boolean

  constructor(zipfian: Zipfian, distribution: Distribution, latest: boolean) {
    this.#zipfian = zipfian
    this.#distribution = distribution
    this.#latest = latest
  }

  next(count: number): number {
    if (this.#distribution === 'uniform') return Math.floor(Math.random() * count)
    const rank = this.#zipfian.next() % count
    if (this.#latest) return count - 1 - rank
    // Popular records are not neighbours: a multiplication by an odd number scatters them.
    return (Math.imul(rank, 0x9e3779b1) >>> 0) % count
  }
}
