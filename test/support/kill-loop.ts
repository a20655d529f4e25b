/** Kills a process that appends, and holds what is found against what it had acknowledged. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Log } from '../../src/index.ts'
import type { RealEngine } from './engines.ts'
import { payloadOf } from './oracle.ts'
import type { Random } from './random.ts'

const CHILD = fileURLToPath(new URL('kill-child.ts', import.meta.url))
const ID_BYTES = 8

interface Known {
  readonly id: number
  readonly bytes: number
}

export interface KillRun {
  readonly wrong: string[]
  readonly acknowledged: number
  readonly found: number
  readonly verdict: string
}

export interface KillOptions {
  readonly callers: number
  readonly largest: number
  /** The process lives at most this long after it is ready, in milliseconds. */
  readonly lifeMs: number
}

/** One log that is written and killed again and again; every life must find all that came before. */
export class KillLoop {
  readonly #directory: string
  readonly #engine: RealEngine
  readonly #random: Random
  readonly #options: KillOptions
  /** By LSN: acknowledged, or seen by an opening, which must then stay. */
  readonly #known = new Map<number, Known>()

  constructor(directory: string, engine: RealEngine, random: Random, options: KillOptions) {
    this.#directory = directory
    this.#engine = engine
    this.#random = random
    this.#options = options
  }

  async run(seed: number): Promise<KillRun> {
    const acknowledged = await this.#oneLife(seed)
    const wrong = acknowledged
      .filter(([lsn]) => this.#known.has(lsn))
      .map(([lsn]) => `LSN ${lsn} twice`)
    for (const [lsn, known] of acknowledged) this.#known.set(lsn, known)
    const first = await this.#judge('first opening', wrong)
    await this.#judge('second opening', wrong)
    return { wrong, acknowledged: acknowledged.length, ...first }
  }

  async #oneLife(seed: number): Promise<[number, Known][]> {
    const { callers, largest, lifeMs } = this.#options
    const args = [this.#directory, this.#engine, seed, callers, largest].map(String)
    const child = spawn(process.execPath, ['--import=tsx', CHILD, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    let errors = ''
    let killTimer: NodeJS.Timeout | undefined
    const life = this.#random.int(0, lifeMs)
    child.stderr.on('data', chunk => (errors += chunk))
    child.stdout.on('data', chunk => {
      output += chunk
      killTimer ??= setTimeout(() => child.kill('SIGKILL'), life)
    })
    const signal = await new Promise<string | null>(resolve => {
      child.on('close', (_, signal) => resolve(signal))
    })
    clearTimeout(killTimer)
    if (signal !== 'SIGKILL') throw new Error(`the child ended by itself: ${errors}`)
    const lines = output.split('\n').slice(1, -1)
    return lines.map(line => {
      const [lsn, id, bytes] = line.split(' ').map(Number)
      return [lsn, { id, bytes }]
    })
  }

  /** Opens, compares, and appends one record, which the next opening must find. */
  async #judge(when: string, wrong: string[]): Promise<{ found: number; verdict: string }> {
    const log = await Log.open(this.#directory, { engine: this.#engine })
    const seen = new Set<number>()
    let before = -1
    for await (const { lsn, data } of log.scan()) {
      if (lsn <= before) wrong.push(`${when}: LSN ${lsn} behind ${before}`)
      before = lsn
      seen.add(lsn)
      const problem = this.#compare(lsn, data)
      if (problem !== undefined) wrong.push(`${when}: ${problem}`)
    }
    for (const lsn of this.#known.keys()) {
      if (!seen.has(lsn)) wrong.push(`${when}: LSN ${lsn} is lost`)
    }
    const id = this.#random.int(0, 1000)
    this.#known.set(await log.appendDurable(payloadOf(id, 100)), { id, bytes: 100 })
    await log.close()
    return { found: seen.size, verdict: log.recovery.verdict }
  }

  #compare(lsn: number, data: Buffer): string | undefined {
    const known = this.#known.get(lsn)
    // One that was never acknowledged must still be one that was appended: it says which.
    const id = known?.id ?? (data.length >= ID_BYTES ? data.readDoubleLE(0) : undefined)
    if (id === undefined) return undefined
    const bytes = known?.bytes ?? data.length
    if (!payloadOf(id, bytes).equals(data)) return `LSN ${lsn} has other bytes than appended`
    this.#known.set(lsn, { id, bytes })
    return undefined
  }
}
