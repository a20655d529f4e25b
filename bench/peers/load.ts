/** The databases are not installed with riolog: `npm install --prefix bench/peers`. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** What bench/peers has installed. The compiler does not know these packages, so each is an `any`. */
export class Peers {
  readonly #folder: string
  readonly #require: NodeJS.Require

  /** @param root riolog's own folder: a bundled script does not know it by its own place */
  constructor(root: string) {
    this.#folder = join(root, 'bench/peers')
    this.#require = createRequire(join(this.#folder, 'package.json'))
  }

  // biome-ignore lint/suspicious/noExplicitAny: there may be no types here
  load(name: string): any {
    try {
      return this.#require(name)
    } catch (error) {
      const message = `${name} is missing: npm install --prefix bench/peers`
      throw new Error(message, { cause: error })
    }
  }

  /** Why there is none. */
  absent(name: string): string | undefined {
    try {
      this.#require.resolve(name)
      return undefined
    } catch {
      return `${name} is missing: npm install --prefix bench/peers`
    }
  }

  version(name: string): string {
    if (this.absent(name) !== undefined) return 'missing'
    const file = join(this.#folder, 'node_modules', name, 'package.json')
    return JSON.parse(readFileSync(file, 'utf8')).version
  }
}
