/**
 * Victims, started ahead: a process that has loaded all it needs waits for its order while another one is
 * being killed, so that a life costs no start of Node that anybody waits for. They are bundled into one
 * file, since loading a hundred through tsx takes longer than most of them live.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import type { MemoryLimits } from './memory-limit.ts'
import type { Order } from './order.ts'

const SOURCE = fileURLToPath(new URL('victim.ts', import.meta.url))
const ADDON = fileURLToPath(new URL('../../build/Release/riolog.node', import.meta.url))
/** Nothing that a victim does takes so long; one that is still there is stuck. */
const STUCK_MS = 60_000

export interface Death {
  /** Whole lines that it had said, from its `open` on. */
  readonly lines: string[]
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  readonly errors: string
  /** The kernel ended it for the memory that it took. */
  readonly isOutOfMemory: boolean
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>

interface Waiting {
  readonly child: Child
  /** Also of one that ends before it has got its order. */
  readonly closed: Promise<Pick<Death, 'code' | 'signal' | 'errors'>>
}

export class Victims {
  readonly #folder = mkdtempSync(join(tmpdir(), 'riolog-victim-'))
  readonly #file = join(this.#folder, 'victim.mjs')
  readonly #limits: MemoryLimits | undefined
  readonly #waiting: Waiting[] = []

  /** @param ahead how many wait at a time */
  constructor(ahead: number, limits?: MemoryLimits) {
    this.#limits = limits
    buildSync({
      entryPoints: [SOURCE],
      outfile: this.#file,
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
    })
    for (let i = 0; i < ahead; i++) this.#startOne()
  }

  /** Lets one of them live as ordered. */
  async send(order: Order): Promise<Death> {
    this.#startOne()
    const waiting = this.#waiting.shift()!
    const limit = order.kind === 'OOM kill' ? this.#limits!.limit(waiting.child.pid!) : undefined
    const killBy = order.kind === 'SIGKILL' || order.kind === 'SIGTERM' ? order.kind : undefined
    const death = await watch(waiting, killBy, order)
    return { ...death, isOutOfMemory: limit?.end() ?? false }
  }

  close(): void {
    for (const { child } of this.#waiting) child.kill('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #startOne(): void {
    const child = spawn(process.execPath, [this.#file], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, RIOLOG_ADDON: ADDON },
    })
    // It is killed at any moment, also before it has read its order.
    child.stdin.on('error', () => {})
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', chunk => {
      errors += chunk
    })
    const closed = new Promise<Awaited<Waiting['closed']>>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve({ code, signal, errors }))
    })
    this.#waiting.push({ child, closed })
  }
}

async function watch(
  { child, closed }: Waiting,
  killBy: NodeJS.Signals | undefined,
  order: Order,
): Promise<Omit<Death, 'isOutOfMemory'>> {
  let output = ''
  let killTimer: NodeJS.Timeout | undefined
  const stuckTimer = setTimeout(() => child.kill('SIGABRT'), STUCK_MS)
  child.stdout.setEncoding('utf8').on('data', chunk => {
    output += chunk
    if (killBy === undefined || !output.includes(`${order.from}\n`)) return
    killTimer ??= setTimeout(() => child.kill(killBy), order.afterMs)
  })
  child.stdin.write(`${JSON.stringify(order)}\n`)
  const { code, signal, errors } = await closed
  clearTimeout(killTimer)
  clearTimeout(stuckTimer)
  // What stands behind the last line break was cut by the end.
  const all = output.split('\n').slice(0, -1)
  const lines = all.slice(all.indexOf('open') + 1)
  return { lines: all.includes('open') ? lines : [], signal, code, errors }
}
