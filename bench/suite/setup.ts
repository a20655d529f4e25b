/** What all sections measure with. */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { absentFio, type FioJob, fioCpuSeconds, runFio } from '../fio.ts'
import { alignedBuffer } from '../peer-node-fs.ts'
import { Peers } from '../peers/load.ts'
import { cpuOf, place } from '../placement.ts'
import { buildC, lastLine, numbers, PACKAGE, run } from '../ring/children.ts'
import type { Children } from './children.ts'
import type { Contender, Figures, Session } from './contender.ts'
import type { KvStoreName } from './kv-stores.ts'
import type { StoreName } from './stores.ts'
import type { AppendSettings, Load } from './tasks/appends.ts'
import type { TaskName, TaskSettings } from './tasks/index.ts'
import type { YcsbSettings } from './tasks/ycsb.ts'

export const C = 'C on raw io_uring'
export const C_DSYNC = 'C, RWF_DSYNC'
export const C_POLLED = 'C, RWF_DSYNC, busy poll'
/** Ways to commit, and what the C program is told for each. */
const C_FLAGS = { [C]: [], [C_DSYNC]: ['--dsync'], [C_POLLED]: ['--dsync', '--poll'] } as const
export const FIO = 'fio'
export const PEERS = ['better-sqlite3', 'lmdb', 'classic-level', 'rocksdb'] as const

export interface Options {
  /** A part of the cases, with short rounds. */
  readonly quick: boolean
  readonly rounds: number
  readonly milliseconds: number
  readonly seed: number
}

const ZEROS_BYTES = 256 << 20

/** Makes contenders. Each session has a folder of its own, which is removed with it. */
export class Setup {
  readonly options: Options
  readonly folder: string
  readonly #children: Children
  readonly #stat: string | undefined
  readonly #peers = new Peers(PACKAGE)
  readonly #c: ReturnType<typeof buildC>
  readonly #noFio = absentFio()
  #folders = 0

  constructor(options: Options, folder: string, children: Children, stat: string | undefined) {
    this.options = options
    this.folder = folder
    this.#children = children
    this.#stat = stat
    this.#c = buildC('commit', folder)
  }

  newFolder(): string {
    const path = join(this.folder, `data-${this.#folders++}`)
    mkdirSync(path)
    return path
  }

  kvStore(store: KvStoreName, settings: Omit<YcsbSettings, 'store' | 'directory' | 'root'>) {
    const all = { ...settings, store, root: PACKAGE }
    return this.task(store, 'ycsb', directory => ({ ...all, directory }), this.#absent(store))
  }

  #absent(store: string): string | undefined {
    return (PEERS as readonly string[]).includes(store) ? this.#peers.absent(store) : undefined
  }

  store(store: StoreName, bytes: number, load: Load, name: string = store): Contender {
    const settings = { store, bytes, load, root: PACKAGE, stat: this.#stat }
    return this.task(
      name,
      'appends',
      directory => ({ ...settings, directory }) as AppendSettings,
      this.#absent(store),
    )
  }

  task<Name extends TaskName>(
    name: string,
    task: Name,
    settings: (directory: string) => TaskSettings<Name>,
    absent?: string,
  ): Contender {
    const start = async (): Promise<Session> => {
      const directory = this.newFolder()
      const remove = () => rmSync(directory, { recursive: true, force: true })
      try {
        const child = await this.#children.start(task, settings(directory))
        const close = () => child.close().finally(remove)
        return { measure: round => child.measure(round), close }
      } catch (error) {
        remove()
        throw error
      }
    }
    return { name, absent, start }
  }

  /** A child without a contender around it: the caller ends it. */
  child<Name extends TaskName>(task: Name, settings: TaskSettings<Name>) {
    return this.#children.start(task, settings)
  }

  /** The C program: a process for each round. */
  c(bytes: number, load: Load, name: keyof typeof C_FLAGS = C): Contender {
    const path = join(this.folder, 'c.bin')
    const measure = async (round: number): Promise<Figures> => {
      const args = argumentsOf(load, path, bytes, round)
      const seconds = load.kind === 'ingest' ? 10 : load.milliseconds / 1000
      const placed = (pid: number | undefined) => place(pid, round)
      const line = lastLine(
        await run([this.#c.path, ...C_FLAGS[name], ...args], seconds, undefined, placed),
      )
      const figures = numbers(line, 'operations', 'seconds', 'cpuSeconds', 'writtenBytes')
      return {
        ...figures,
        perSecond: figures.operations / figures.seconds,
        bytesPerSecond: (figures.operations * bytes) / figures.seconds,
        cpuUs: (figures.cpuSeconds / figures.operations) * 1e6,
        writtenPerByte: figures.writtenBytes / (figures.operations * bytes),
      }
    }
    const start = async () => ({ measure, close: async () => {} })
    return { name, absent: this.#c.absent, start }
  }

  /** @param options is called when it starts: what it needs may not be possible here */
  fio(
    options: () => Readonly<Record<string, string>>,
    flags: readonly string[],
    figuresOf: (job: FioJob) => Figures,
  ): Contender {
    const seconds = this.options.milliseconds / 1000
    const start = async (): Promise<Session> => {
      const all = { name: 'suite', ...options() }
      const measure = async (round: number): Promise<Figures> => {
        const cpu = cpuOf(round)
        // It forks what it measures: that one can only be held there.
        const held = cpu === undefined ? all : { ...all, cpus_allowed: String(cpu) }
        const job = await runFio(held, flags, seconds)
        const operations = job.read.total_ios + job.write.total_ios
        return { ...figuresOf(job), cpuUs: (fioCpuSeconds(job) / operations) * 1e6 }
      }
      return { measure, close: async () => {} }
    }
    return { name: FIO, absent: this.#noFio, start }
  }

  /** A file full of zeros, for what writes over it; made once. */
  zeros(): string {
    const path = join(this.folder, 'zeros.bin')
    if (existsSync(path)) return path
    const { O_WRONLY, O_CREAT, O_DIRECT } = constants
    const chunk = alignedBuffer(1 << 20)
    // Past the page cache: pages in it would have to be dropped by the writes that are measured.
    const fd = openSync(path, O_WRONLY | O_CREAT | O_DIRECT, 0o600)
    for (let at = 0; at < ZEROS_BYTES; at += chunk.length) writeSync(fd, chunk)
    fsyncSync(fd)
    closeSync(fd)
    return path
  }
}

function argumentsOf(load: Load, path: string, bytes: number, round: number): string[] {
  const all = {
    closed: () => load.kind === 'closed' && [load.callers, bytes, load.milliseconds],
    open: () => load.kind === 'open' && [load.rate, bytes, load.milliseconds, load.seed + round],
    ingest: () => load.kind === 'ingest' && [load.records, bytes],
  }
  return [load.kind, path, ...(all[load.kind]() || [])].map(String)
}
