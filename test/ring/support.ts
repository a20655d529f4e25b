import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ring, type RingOptions } from '../../src/ring/index.ts'
import type { Test } from '../support/engines.ts'

/** Why there is no ring here; undefined when there is one. */
async function whyNoRing(): Promise<string | undefined> {
  try {
    await Ring.open({ depth: 1 }).close()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

let reason: Promise<string | undefined> | undefined

/** A test that needs io_uring: without it, skipped by name. */
export function withRing(t: Test, name: string, run: (t: Test) => Promise<void>): void {
  t.test(name, async t => {
    reason ??= whyNoRing()
    const skip = await reason
    if (skip !== undefined) return void t.pass(name, { skip })
    await run(t)
  })
}

/** A ring that is closed when the test ends. */
export function openRing(t: Test, options: RingOptions = { depth: 8 }): Ring {
  const ring = Ring.open(options)
  t.teardown(() => ring.close())
  return ring
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'riolog-ring-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A descriptor of a fresh file, for reading and writing. */
export function temporaryFile(t: Test, flags = 0): number {
  const path = join(temporaryFolder(t), 'file')
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | flags, 0o600)
  t.teardown(() => closeSync(fd))
  return fd
}

/**
 * A FIFO: a read from it stays in flight until {@link Fifo.put} gives it bytes. Open for writing too,
 * so that it never ends and opening it does not block.
 */
export class Fifo {
  readonly fd: number

  constructor(t: Test) {
    const path = join(temporaryFolder(t), 'fifo')
    execFileSync('mkfifo', [path])
    this.fd = openSync(path, constants.O_RDWR)
    t.teardown(() => closeSync(this.fd))
  }

  put(text: string): void {
    writeSync(this.fd, text)
  }
}

/** The code with which a call fails, whether it throws or rejects; undefined when it does not. */
export async function codeOf(call: () => unknown): Promise<string | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    return (error as { code?: string }).code ?? `no code: ${error}`
  }
}

export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
  readonly ms: number
}

/** Runs a program of ./children to its end; one that hangs is killed, and has a signal then. */
export function runChild(name: string, args: readonly string[] = []): Promise<Ended> {
  const file = fileURLToPath(new URL(`./children/${name}`, import.meta.url))
  const started = Date.now()
  const child = spawn(process.execPath, ['--expose-gc', '--import=tsx', file, ...args], {
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  const text = { stdout: '', stderr: '' }
  child.stdout.on('data', data => (text.stdout += data))
  child.stderr.on('data', data => (text.stderr += data))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({ code, signal, ...text, ms: Date.now() - started })
    })
  })
}
