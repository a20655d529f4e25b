import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A seeded source of choices: the same seed comes to the same run, on every machine. */
export class Random {
  readonly #generator: ReturnType<typeof xoroshiro128plus>

  /**
   * A source of its own.
   * @param seed an integer; its lowest 32 bits count
   */
  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed | 0)
  }

  /** An integer from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return uniformInt(this.#generator, low, high)
  }

  /** True with this probability, from 0 to 1. */
  chance(probability: number): boolean {
    return this.int(0, 0xffff) < probability * 0x10000
  }

  /** One of these, each as likely as the others. */
  pick<T>(from: readonly T[]): T {
    return from[this.int(0, from.length - 1)]
  }

  /** So many bytes. */
  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.int(0, 255))
  }

  /** A seed for a source of its own, which this one does not depend on any more. */
  seed(): number {
    return this.int(0, 0x7fffffff)
  }
}

/** A seed that belongs to two others, and to no other pair but by chance. */
export function mixedSeed(a: number, b: number): number {
  let mixed = (a ^ Math.imul(b + 1, 0x9e3779b1)) | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 1
}
