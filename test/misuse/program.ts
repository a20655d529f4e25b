/**
 * Random programs over the ring: they lend, read what is lent, transfer, drop, collect, cancel, close
 * in mid-flight, and give every kind of wrong argument. Ends with 0 if all that the ring promises held
 * at each step, else says what did not, the seed, and the program.
 *
 *   node --expose-gc --import=tsx test/misuse/program.ts SEED STEPS
 *
 * As a worker it runs until it is terminated.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import fc from 'fast-check'
import { Random } from '../support/random.ts'
import { COMMANDS, depthOf } from './commands.ts'
import { checkResources, makePlaces, type Places, resources, violations, World } from './world.ts'

const RUNS_BETWEEN_CHECKS = 10
const STEPS_PER_WORKER = 1000
const [LEAST, MOST] = [10, 60]

const NAMES = COMMANDS.map(([name]) => name)
const commands = new Map(COMMANDS)
const step = fc.record({
  command: fc.constantFrom(...NAMES),
  a: fc.nat(),
  b: fc.nat(),
  c: fc.nat(),
})
const program = fc.record({
  depth: fc.nat(),
  steps: fc.array(step, { minLength: LEAST, maxLength: MOST, size: 'max' }),
})
type Program = typeof program extends fc.Arbitrary<infer T> ? T : never

let stepsDone = 0

async function run(places: Places, { depth, steps }: Program): Promise<void> {
  const world = new World(places, depthOf(depth))
  for (const { command, a, b, c } of steps) {
    await commands.get(command)!(world, a, b, c)
    world.checkViews()
    stepsDone++
    if (violations.length > 0) break
  }
  await world.end()
  if (violations.length > 0) throw new Error(violations.splice(0).join('\n'))
}

async function runAsWorker(): Promise<void> {
  const { seed, folder } = workerData as { seed: number; folder: string }
  const places = makePlaces(folder)
  const runs = fc.asyncProperty(program, world => run(places, world))
  setTimeout(() => parentPort?.postMessage('in full flight'), 50)
  const numRuns = 1_000_000 // it is terminated long before
  await fc.assert(runs, { seed, numRuns, endOnFailure: true, includeErrorInReport: true })
}

/** A worker does not inherit the loader of TypeScript. */
const START = `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(tsx => {
  tsx.register()
  return import(${JSON.stringify(import.meta.url)})
})`

/** Ends workers that run a program of their own, wherever they are. */
async function terminateWorkers(random: Random, places: Places, count: number): Promise<void> {
  const folder = dirname(places.path)
  for (let i = 0; i < count; i++) {
    const seed = random.int(0, 2 ** 31 - 1)
    const data = { seed, folder: `${folder}/worker${i}` }
    mkdirSync(data.folder)
    const worker = new Worker(START, { eval: true, workerData: data })
    let failure: unknown
    worker.on('error', error => (failure = error))
    await new Promise(resolve => worker.once('message', resolve).once('exit', resolve))
    await delay(random.int(0, 60))
    await worker.terminate()
    if (failure !== undefined) violations.push(`a worker (seed ${seed}): ${failure}`)
  }
}

async function runAsProcess(seed: number, steps: number): Promise<void> {
  const places = makePlaces()
  const before = resources()
  let runs = 0
  const property = fc.asyncProperty(program, async program => {
    await run(places, program)
    if (++runs % RUNS_BETWEEN_CHECKS > 0) return
    await checkResources(before)
    if (violations.length > 0) throw new Error(violations.splice(0).join('\n'))
  })
  const numRuns = Math.max(1, Math.round((steps * 2) / (LEAST + MOST)))
  // To look for the smallest program takes long where one hangs.
  const endOnFailure = process.env.RIOLOG_SHRINK === undefined
  await fc.assert(property, {
    seed,
    numRuns,
    endOnFailure,
    includeErrorInReport: true,
    ...(process.env.RIOLOG_PATH === undefined ? {} : { path: process.env.RIOLOG_PATH }),
  })
  const workers = Math.ceil(steps / STEPS_PER_WORKER)
  await terminateWorkers(new Random(seed), places, workers)
  await checkResources(before)
  rmSync(dirname(places.path), { recursive: true })
  if (violations.length > 0) throw new Error(violations.join('\n'))
  console.log(`seed ${seed}: ${stepsDone} steps in ${runs} programs, ${workers} workers`)
}

process.on('warning', warning => {
  const { code } = warning as { code?: string }
  if (code !== 'RIOLOG_HANDLE_DROPPED') violations.push(`${warning}`)
})
if (parentPort !== null) {
  await runAsWorker()
} else {
  const [seed, steps] = process.argv.slice(2).map(Number)
  try {
    await runAsProcess(seed, steps)
  } catch (error) {
    console.error((error as Error).message)
    console.error(`seed ${seed}, ${stepsDone} steps`)
    process.exit(1)
  }
}
