/**
 * `sync: 'auto'`: which way to sync is faster on this device. RWF_DSYNC on a ring lost to a linked
 * fdatasync by a factor of 25 as soon as something else kept the CPU busy that takes the disk's interrupts,
 * and won on an idle machine: so it has to win idle, beside busy CPUs, and under a busy event loop.
 */
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { allocateBuffer } from './buffer.ts'
import type { DiskBuffer, DiskDirectory, DiskFile, EngineName, SyncMode } from './disk.ts'

/** Medians of the time of a commit by `dsync`, as a part of that by `fdatasync`. */
export interface SyncRatios {
  /** On an idle machine. */
  readonly idle: number
  /** While other threads keep the CPUs busy. */
  readonly busyCpus: number
  /** While this thread is busy. */
  readonly busyEventLoop: number
}

/** How commits become durable: `log.info().sync`. */
export interface SyncReport {
  /** The way that is taken. */
  readonly mode: SyncMode
  /** What `auto` measured. */
  readonly measured?: SyncRatios
  /** Why `auto` measured nothing. */
  readonly reason?: string
}

const BLOCK_BYTES = 4096
const BLOCKS = 32
/** Commits each way; they take turns, so that what the machine does meanwhile hits both. */
const COMMITS = 15
/** Ways that differ by less are equal for our purpose, and fdatasync is the one that is known better. */
const WINS_BELOW = 0.95
const BUSY_TURN_MS = 0.5

/** A device is measured once a process. */
const known = new Map<string, Promise<SyncReport>>()

/** @param wanted the option: `auto` measures, which takes some tenths of a second */
export async function chooseSync(
  wanted: SyncMode | 'auto',
  engine: EngineName,
  directory: DiskDirectory,
): Promise<SyncReport> {
  if (wanted !== 'auto') return { mode: wanted }
  if (engine === 'simulated') return { mode: 'fdatasync', reason: 'a simulated disk has no speed' }
  const device = `${engine} ${statSync(directory.path).dev}`
  const report = known.get(device) ?? measure(directory)
  known.set(device, report)
  return report
}

/** By the ratios alone. */
export function decideSync(measured: SyncRatios): SyncReport {
  const wins = Object.values(measured).every(ratio => ratio < WINS_BELOW)
  return { mode: wins ? 'dsync' : 'fdatasync', measured }
}

async function measure(directory: DiskDirectory): Promise<SyncReport> {
  const file = await directory.openScratch()
  if (file === undefined) {
    return { mode: 'fdatasync', reason: 'the file system has no files without a name (O_TMPFILE)' }
  }
  const buffer = allocateBuffer(BLOCKS * BLOCK_BYTES)
  try {
    // As in a segment: written before, so that no commit is one of metadata.
    await file.write(buffer, 0, BLOCKS * BLOCK_BYTES, 0)
    await file.sync()
    const idle = await ratio(file, buffer)
    const busyCpus = await besideBusyCpus(() => ratio(file, buffer))
    const busyEventLoop = await underBusyLoop(() => ratio(file, buffer))
    return decideSync({ idle, busyCpus, busyEventLoop })
  } catch (error) {
    return { mode: 'fdatasync', reason: (error as Error).message }
  } finally {
    file.close()
  }
}

async function ratio(file: DiskFile, buffer: DiskBuffer): Promise<number> {
  const times: Record<SyncMode, number[]> = { fdatasync: [], dsync: [] }
  for (let i = 0; i < COMMITS; i++) {
    for (const mode of ['fdatasync', 'dsync'] as const) {
      times[mode].push(await timed(file, buffer, (i % BLOCKS) * BLOCK_BYTES, mode))
    }
  }
  return median(times.dsync) / median(times.fdatasync)
}

/** Milliseconds. */
function timed(file: DiskFile, buffer: DiskBuffer, at: number, mode: SyncMode): Promise<number> {
  return new Promise((resolve, reject) => {
    const from = performance.now()
    file.commit(buffer, at, BLOCK_BYTES, at, mode, error =>
      error ? reject(error) : resolve(performance.now() - from),
    )
  })
}

async function besideBusyCpus<T>(run: () => Promise<T>): Promise<T> {
  const spin = `
    require('node:worker_threads').parentPort.postMessage('spinning')
    for (;;);`
  const spinners = Array.from(
    { length: availableParallelism() },
    () => new Worker(spin, { eval: true, execArgv: [] }),
  )
  try {
    await Promise.all(spinners.map(spinner => once(spinner, 'message')))
    return await run()
  } finally {
    await Promise.all(spinners.map(spinner => spinner.terminate()))
  }
}

async function underBusyLoop<T>(run: () => Promise<T>): Promise<T> {
  let isOver = false
  const turn = () => {
    const until = performance.now() + BUSY_TURN_MS
    while (performance.now() < until);
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  try {
    return await run()
  } finally {
    isOver = true
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]
}
