/** Contenders in JavaScript, each in a process of its own: no garbage or compiled code of another's. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { place } from '../placement.ts'
import { PACKAGE } from '../ring/children.ts'
import type { Figures, Session } from './contender.ts'
import type { TaskName, TaskSettings } from './tasks/index.ts'

/** In which a child answers, or it is stuck. */
const STUCK_MS = 600_000
const KEPT_ERRORS = 4096

export type Order =
  | { kind: 'start'; task: TaskName; settings: TaskSettings }
  | { kind: 'measure'; round: number }
  | { kind: 'close' }

export interface Answer {
  readonly figures?: Figures
  readonly error?: string
}

/** The store of examples/kv imports the sources; users have the compiled package. */
const COMPILED_RIOLOG: Plugin = {
  name: 'compiled-riolog',
  setup({ onResolve }) {
    onResolve({ filter: /\/src\/index\.ts$/ }, ({ resolveDir, path }) =>
      join(resolveDir, path) === join(PACKAGE, 'src/index.ts')
        ? { path: 'riolog', external: true }
        : undefined,
    )
  },
}

/** The script of all children. tsx in them would take memory and time that is not the contender's. */
export class Children {
  readonly #folder: string
  readonly #file: string

  private constructor(folder: string) {
    this.#folder = folder
    this.#file = join(folder, 'child.mjs')
  }

  static async build(): Promise<Children> {
    // Inside the package, so that `riolog` is found by its name; ignored by git.
    const children = new Children(mkdtempSync(join(PACKAGE, 'build-suite-')))
    try {
      await build({
        entryPoints: [fileURLToPath(new URL('child.ts', import.meta.url))],
        outfile: children.#file,
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node20',
        external: ['riolog', 'abstract-level'],
        plugins: [COMPILED_RIOLOG],
      })
      return children
    } catch (error) {
      children.remove()
      throw error
    }
  }

  async start<Name extends TaskName>(task: Name, settings: TaskSettings<Name>): Promise<Child> {
    // The test runner hooks itself into every Node by NODE_OPTIONS.
    const { NODE_OPTIONS: _, ...env } = process.env
    const child = new Child(
      fork(this.#file, [], { env, execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] }),
    )
    try {
      await child.send({ kind: 'start', task, settings })
      return child
    } catch (error) {
      await child.kill()
      throw error
    }
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

export class Child implements Session {
  readonly #process: ChildProcess
  #errors = ''

  constructor(process: ChildProcess) {
    this.#process = process
    process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-KEPT_ERRORS)
    })
  }

  async send(order: Order): Promise<Answer> {
    const over = new AbortController()
    const timeout = AbortSignal.any([over.signal, AbortSignal.timeout(STUCK_MS)])
    try {
      const answered = once(this.#process, 'message', { signal: timeout })
      const ended = once(this.#process, 'exit', { signal: timeout }).then(([code, signal]) => {
        throw new Error(`the child ended with ${code ?? signal}: ${this.#errors.trim()}`)
      })
      this.#process.send(order)
      const [answer] = (await Promise.race([answered, ended])) as [Answer]
      if (answer.error !== undefined) throw new Error(answer.error)
      return answer
    } finally {
      over.abort()
    }
  }

  async measure(round: number): Promise<Figures> {
    place(this.#process.pid, round)
    return (await this.send({ kind: 'measure', round })).figures!
  }

  async close(): Promise<void> {
    try {
      await this.send({ kind: 'close' })
    } finally {
      await this.kill()
    }
  }

  /** SIGKILL: what it was doing stays undone. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await ended
  }
}
