/** What a random program acts on, and what it must find in order all along. */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { addon } from '../../src/native.ts'
import {
  type BufferGroup,
  type Completion,
  IoBuffer,
  Ring,
  type RingFile,
} from '../../src/ring/index.ts'
import { openDescriptors } from '../support/descriptors.ts'

export const FILE_BYTES = 64 * 1024
/** The longest that anything takes, however busy the machine is. */
const PATIENCE_MS = 30_000
const GUARD = 0xee

/** What stands at a place of the file with this number. */
export const byteAt = (file: number, offset: number) => (offset * 31 + file * 7) % 251

/** Files that outlive every ring: descriptors of Node, not of riolog. */
export interface Places {
  readonly path: string
  /** Two files of known and different content. */
  readonly files: readonly number[]
  readonly scratch: number
  /** For whatever a wrong call does to it. */
  readonly any: number
  /** Nobody writes to it: a read from it stays in flight. */
  readonly fifo: number
}

export function makePlaces(folder = mkdtempSync(join(tmpdir(), 'riolog-misuse-'))): Places {
  const files = [0, 1].map(file => {
    const fd = openSync(join(folder, `file${file}`), 'w+')
    writeSync(fd, contentOf(file, 0, FILE_BYTES))
    return fd
  })
  execFileSync('mkfifo', [join(folder, 'fifo')])
  return {
    path: join(folder, 'file0'),
    files,
    scratch: openSync(join(folder, 'scratch'), 'w+'),
    any: openSync(join(folder, 'any'), 'w+'),
    fifo: openSync(join(folder, 'fifo'), constants.O_RDWR | constants.O_NONBLOCK),
  }
}

export function contentOf(file: number, from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => byteAt(file, from + i))
}

/** What went wrong in this process so far; the program ends with the first. */
export const violations: string[] = []

process.on('unhandledRejection', reason =>
  violations.push(`unhandled rejection: ${(reason as Error)?.stack ?? reason}`),
)
process.on('uncaughtException', error => violations.push(`uncaught exception: ${error.stack}`))

/** Errors are riolog's own, with a code. */
export function expectCode(error: unknown, what: string): void {
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code === 'string' && code.startsWith('ERR_RIOLOG_')) return
  violations.push(`${what}: no code of ours: ${(error as Error)?.stack ?? String(error)}`)
}

/** Runs a call that may be refused; gives what it gave. */
export function attempt<T>(what: string, call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    expectCode(error, what)
    return undefined
  }
}

/** A call that must be refused with just this code. */
export function refused(what: string, code: string, call: () => unknown): void {
  try {
    call()
    violations.push(`${what}: not refused`)
  } catch (error) {
    const found = (error as { code?: string }).code
    if (found !== code) violations.push(`${what}: refused with ${found ?? error}, not ${code}`)
  }
}

/** A buffer that is not lent, its views, and how often anybody has had it. */
export interface Owned {
  readonly buffer: IoBuffer
  uses: number
}

export class World {
  readonly places: Places
  ring: Ring
  /** Sends messages to the first. */
  readonly far: Ring
  readonly closing: Ring[] = []
  readonly owned: Owned[] = []
  readonly completions: Completion<unknown>[] = []
  readonly views: { readonly view: Uint8Array; readonly of: IoBuffer }[] = []
  readonly files: RingFile[] = []
  readonly groups: BufferGroup[] = []
  readonly aborts: AbortController[] = []
  /** Never lent: the kernel must leave them alone. */
  readonly guards: IoBuffer[]
  readonly #pending = new Map<number, string>()
  #asked = 0
  /** Behind all that `write` can reach: the longest array, from the last offset on. */
  #place = 1 << 21

  constructor(places: Places, depth: number) {
    this.places = places
    this.ring = Ring.open({ depth })
    this.far = Ring.open({ depth: 4 })
    this.guards = [100, 5000, 300_000].map(bytes => IoBuffer.alloc(bytes))
    for (const guard of this.guards) guard.bytes.fill(GUARD)
  }

  /** A part of the scratch file that nobody else writes to. */
  ownPlace(): number {
    this.#place += 1 << 16
    return this.#place
  }

  /** Sees to it that the promise settles, once, with a value or an error of ours. */
  watch<T>(what: string, promise: Promise<T> | undefined, check?: (value: T) => void): void {
    if (promise === undefined) return
    const id = this.#asked++
    this.#pending.set(id, what)
    const settle = () => {
      if (!this.#pending.delete(id)) violations.push(`${what}: settled twice`)
    }
    promise.then(
      value => {
        settle()
        check?.(value)
      },
      error => {
        settle()
        expectCode(error, what)
      },
    )
  }

  /** As {@link watch}, and keeps it to be cancelled and waited for. */
  keep<T>(what: string, completion: Completion<T> | undefined, check?: (value: T) => void): void {
    if (completion === undefined) return
    this.watch(what, completion, check)
    this.completions.push(completion)
  }

  /** Views of what is lent have nothing to show. */
  checkViews(): void {
    for (const { view, of } of this.views) {
      if (of.lent && view.length > 0) violations.push('a view shows a lent buffer')
    }
  }

  replaceRing(depth: number): Ring {
    const old = this.ring
    this.closing.push(old)
    this.ring = Ring.open({ depth })
    this.groups.splice(0)
    return old
  }

  /** The end: all is cancelled and closed, and nothing is left of it. */
  async end(): Promise<void> {
    const rings = [this.ring, this.far, ...this.closing]
    for (const ring of rings) {
      if (ring.kernelOverflow !== 0) violations.push('the kernel dropped a completion')
      this.watch('close', ring.close({ cancel: true }))
    }
    await within(() => this.#pending.size === 0)
    const left = [...this.#pending.values()]
    if (left.length > 0) violations.push(`never settled: ${left.join(', ')}`)
    await within(() => rings.every(ring => ring.inFlight === 0))
    for (const ring of rings) {
      if (ring.inFlight !== 0) violations.push(`${ring.inFlight} in flight after close`)
    }
    if (this.owned.some(({ buffer }) => buffer.lent)) violations.push('lent for ever')
    for (const file of this.files) await file.close().catch(error => expectCode(error, 'close'))
    for (const guard of this.guards) {
      if (guard.bytes.some(byte => byte !== GUARD)) violations.push('a buffer changed unlent')
    }
  }
}

async function within(isDone: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!isDone() && Date.now() < deadline) await delay(1)
}

export interface Resources {
  readonly descriptors: number
  readonly memory: number
}

export function resources(): Resources {
  const descriptors = openDescriptors()
  return { descriptors, memory: addon().liveMemoryCount() }
}

/** Whatever was dropped is collected, and all resources are what they were. */
export async function checkResources(before: Resources): Promise<void> {
  const found = () => JSON.stringify(resources())
  for (let i = 0; i < 200 && found() !== JSON.stringify(before); i++) {
    global.gc?.()
    await delay(i)
  }
  if (found() !== JSON.stringify(before)) {
    violations.push(`left over: ${found()}, before: ${JSON.stringify(before)}`)
  }
}
