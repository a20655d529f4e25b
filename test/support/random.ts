import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A seeded source of random numbers: every failure names its seed. */
export class Random {
  readonly #generator: ReturnType<typeof xoroshiro128plus>

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed)
  }

  /** An integer from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return uniformInt(this.#generator, low, high)
  }

  chance(probability: number): boolean {
    return this.int(0, 999_999) < probability * 1_000_000
  }
}

/** From RIOLOG_SEED, else from the clock; tests print it. */
export function chooseSeed(): number {
  const given = process.env.RIOLOG_SEED
  return given === undefined ? Date.now() % 2 ** 31 : Number(given)
}
