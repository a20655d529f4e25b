/** What the conformance tests share. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ChainError, InternetAddress, Ring, StreamSocket } from '../../../src/ring/index.ts'
import type { RequestContext } from '../../../src/ring/request.ts'
import type { RequestQueue } from '../../../src/ring/request-queue.ts'
import type { Test } from '../../support/engines.ts'
import type { Ended } from '../support.ts'

export { openDescriptors } from '../../support/descriptors.ts'

export const BAD_FD = 0x7fffffff
export const EBADF = -9
export const ECANCELED = -125
export const CANCELED = 'ERR_RIOLOG_CANCELED'
export const INVALID = 'ERR_RIOLOG_INVALID_ARGUMENT'
export const UNSUPPORTED = 'ERR_RIOLOG_UNSUPPORTED'

/** What an error of the kernel looks like. */
export function failing(errnoName: string): { code: string; errnoName: string } {
  return { code: 'ERR_RIOLOG_SYSTEM', errnoName }
}

/** The queue behind a ring, which records the SQEs that the kernel took. */
export function queueOf(ring: Ring): RequestQueue {
  return (ring as unknown as { context: RequestContext }).context.queue
}

/** How a chain ended that must not run to its end. */
export function chainError(submitted: PromiseLike<unknown>): Promise<ChainError> {
  return Promise.resolve(submitted).then(
    () => {
      throw new Error('the chain ran to its end')
    },
    error => error,
  )
}

const HUNG_MS = 5_000

/** Fails a test that would hang otherwise, so that those behind it still run. */
export async function notHanging<T>(promise: PromiseLike<T>, what: string): Promise<T> {
  const giveUp = new AbortController()
  const hung = delay(HUNG_MS, undefined, { signal: giveUp.signal, ref: true }).then(() => {
    throw new Error(`never settled: ${what}`)
  })
  hung.catch(() => {})
  try {
    return await Promise.race([promise, hung])
  } finally {
    giveUp.abort()
  }
}

/** Polls for what comes a little later: a descriptor closed by the kernel's own thread, say. */
export async function eventually(isSo: () => boolean): Promise<boolean> {
  for (let i = 0; i < 500; i++) {
    if (isSo()) return true
    await delay(10)
  }
  return isSo()
}

/** Reads a file through a descriptor that is open, from its beginning. */
export function contentOf(fd: number): string {
  return readFileSync(`/proc/self/fd/${fd}`, 'latin1')
}

export interface Connection {
  readonly near: StreamSocket
  readonly far: StreamSocket
}

/** Two ends of a connection over the loopback interface. */
export async function connection(t: Test, ring: Ring): Promise<Connection> {
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const accepted = ring.accept(listening)
  const near = await ring.dial(listening.address() as InternetAddress)
  const far = await accepted
  await listening.close()
  t.teardown(() => Promise.all([near.close(), far.close()]))
  return { near, far }
}

/**
 * Runs a program of ./children to its end. `limits` are options of `ulimit`, set in a shell that
 * then becomes the program; `user` gives up root, whom limits of memory do not bind.
 */
export function runChild(
  name: string,
  args: readonly string[] = [],
  options: {
    readonly limits?: string
    readonly user?: number | undefined
    readonly mostMs?: number
  } = {},
): Promise<Ended> {
  const file = fileURLToPath(new URL(`./children/${name}`, import.meta.url))
  const node = [process.execPath, '--expose-gc', '--import=tsx', file, ...args]
  const limit = options.limits === undefined ? '' : `ulimit ${options.limits} && `
  const started = Date.now()
  const child = spawn('/bin/sh', ['-c', `${limit}exec "$@"`, 'sh', ...node], {
    timeout: options.mostMs ?? 120_000,
    killSignal: 'SIGKILL',
    uid: options.user,
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
