/**
 * A small key-value store on a log, with a bug: it says that a value is stored before it is durable. The
 * harness finds that, and prints the shortest run that shows it: `npx tsx examples/crash-your-own.ts`.
 * With `--fixed` the bug is taken out, and nothing is found.
 */
import { CrashTestError, crashTest } from '../src/crash/index.ts'
import type { Log } from '../src/index.ts'

const isFixed = process.argv.includes('--fixed')

class Counters {
  readonly #log: Log
  readonly values = new Map<string, number>()

  constructor(log: Log) {
    this.#log = log
  }

  static async open(log: Log): Promise<Counters> {
    const counters = new Counters(log)
    for await (const { data } of log.scan()) counters.values.set(...parse(data))
    return counters
  }

  async add(key: string): Promise<[string, number]> {
    const entry: [string, number] = [key, (this.values.get(key) ?? 0) + 1]
    this.values.set(...entry)
    this.#log.append(Buffer.from(JSON.stringify(entry)))
    if (isFixed) await this.#log.flush() // That this is missing is the bug.
    return entry
  }
}

const parse = (data: Buffer) => JSON.parse(String(data)) as [string, number]

try {
  const { runs } = await crashTest<string>({
    seed: 1,
    runs: 500,
    steps: random => Array.from({ length: 8 }, () => random.pick(['a', 'b', 'c'])),
    async workload({ open, steps, acknowledge }) {
      const counters = await Counters.open(await open())
      for (const key of steps) acknowledge(await counters.add(key))
    },
    async verify({ open, acknowledged }) {
      const { values } = await Counters.open(await open())
      for (const [key, value] of acknowledged as [string, number][]) {
        if ((values.get(key) ?? 0) < value) throw new Error(`${key} had come to ${value}`)
      }
    },
  })
  console.log(`${runs} crashes, and nothing is lost`)
} catch (error) {
  if (!(error instanceof CrashTestError)) throw error
  console.log(`Found: ${error.message}`)
}
