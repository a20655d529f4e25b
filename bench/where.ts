/**
 * `npm run bench:where`: what the JavaScript thread does in each load that misses a target, by V8's own
 * sampling profiler. Idle is a thread that waits for the disk; calls into the kernel and into the addon count for the
 * function that makes them. A profiler slows down what it looks at, so that only shares tell something.
 *
 *   npm run bench:where -- [--load scan] [--seconds 3] [--directory .]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { type Profiler, Session } from 'node:inspector/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { PACKAGE } from './ring/children.ts'
import type { StoreName } from './suite/stores.ts'
import { startTask, type TaskName, type TaskSettings } from './suite/tasks/index.ts'

const KIB = 1024
const INTERVAL_US = 200
const SHOWN = 10

const { values: given } = parseArgs({
  options: {
    load: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    directory: { type: 'string', default: tmpdir() },
  },
})
const milliseconds = Number(given.seconds) * 1000

type Task = readonly [TaskName, (directory: string) => TaskSettings]

const appends = (store: StoreName, bytes: number, callers: number): Task => [
  'appends',
  directory => {
    const load = { kind: 'closed', callers, milliseconds } as const
    return { store, directory, root: PACKAGE, bytes, load, stat: undefined }
  },
]
const LOADS: Record<string, Task> = {
  'durable, 64 callers': appends('riolog, trimmed', 128, 64),
  'durable, 512 callers': appends('riolog, trimmed', 128, 512),
  'callbacks, 512 callers': appends('riolog, callbacks', 128, 512),
  'ingest of 1 KiB': [
    'appends',
    directory => ({
      store: 'riolog, trimmed',
      directory,
      root: PACKAGE,
      bytes: KIB,
      load: { kind: 'ingest', records: 300_000 * Number(given.seconds) },
      stat: undefined,
    }),
  ],
  scan: ['reads', directory => ({ directory, bytes: KIB, records: 500_000, load: 'scan' })],
  scanBatches: [
    'reads',
    directory => ({ directory, bytes: KIB, records: 500_000, load: 'scanBatches' }),
  ],
  'random reads': [
    'reads',
    directory => ({
      directory,
      bytes: 4 * KIB,
      records: 100_000,
      load: { depth: 32, milliseconds, seed: 1 },
    }),
  ],
}

async function profileOf([name, settings]: Task, directory: string): Promise<Profiler.Profile> {
  const task = await startTask(name, settings(directory))
  const inspector = new Session()
  inspector.connect()
  await inspector.post('Profiler.enable')
  await inspector.post('Profiler.setSamplingInterval', { interval: INTERVAL_US })
  await inspector.post('Profiler.start')
  await task.measure(1)
  const { profile } = await inspector.post('Profiler.stop')
  inspector.disconnect()
  await task.close()
  return profile
}

function placeOf({ functionName, url }: Profiler.ProfileNode['callFrame']): string {
  if (url === '') return functionName || '(anonymous)'
  const file = url.replace(/^.*\/(dist|bench)\//, '')
  return `${file} ${functionName || '(anonymous)'}`
}

/** Microseconds by function, most first, and all of them together. */
function timesOf({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile) {
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const times = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const place = places.get(id)!
    times.set(place, (times.get(place) ?? 0) + timeDeltas[i])
  }
  return [...times].sort(([, one], [, other]) => other - one)
}

const names = Object.keys(LOADS)
if (given.load !== undefined && !names.includes(given.load)) {
  throw new Error(`--load must be one of: ${names.join('; ')}`)
}
for (const [load, task] of Object.entries(LOADS)) {
  if (given.load !== undefined && given.load !== load) continue
  const directory = mkdtempSync(join(given.directory, 'riolog-where-'))
  try {
    const times = timesOf(await profileOf(task, join(directory, 'log')))
    const total = times.reduce((sum, [, time]) => sum + time, 0)
    console.log(`\n${load}`)
    for (const [place, time] of times.slice(0, SHOWN)) {
      console.log(`${((100 * time) / total).toFixed(1).padStart(6)} %  ${place}`)
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
