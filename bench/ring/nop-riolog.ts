/**
 * NOPs from JavaScript, `batch` at a time: node --import=tsx nop-riolog.ts MODE BATCH SECONDS.
 * `promises`: a completion each, all awaited. `batch`: one promise for all. `waitSync`: the same, with
 * the thread held up as the C program's is. Prints {"operations":N,"seconds":S,"cpuSeconds":C}.
 */
import { Ring } from '../../src/ring/index.ts'

const [mode, batchArgument, secondsArgument] = process.argv.slice(2)
const size = Number(batchArgument)
const seconds = Number(secondsArgument)
const WARM_UP_SECONDS = 0.3

const ring = Ring.open({ depth: 256 })

async function promises(): Promise<void> {
  const all: Promise<void>[] = []
  for (let i = 0; i < size; i++) all.push(ring.nop())
  for (const one of all) await one
}

function check(results: Int32Array): void {
  if (results.length !== size || results[size - 1] !== 0) throw new Error('a NOP failed')
}

// Made once: what is measured is submitting and completing.
const nops = ring.batch()
for (let i = 0; i < size; i++) nops.nop()

async function batch(): Promise<void> {
  check(await nops.submit())
}

function batchSync(): void {
  check(nops.submit().waitSync())
}

async function runFor(duration: number): Promise<number> {
  const deadline = performance.now() + duration * 1000
  let operations = 0
  while (performance.now() < deadline) {
    // The clock is read as seldom as the C program reads it.
    for (let i = 0; i < 64; i++) {
      if (mode === 'waitSync') batchSync()
      else if (mode === 'batch') await batch()
      else await promises()
    }
    operations += 64 * size
  }
  return operations
}

await runFor(WARM_UP_SECONDS)
const cpuStarted = process.cpuUsage()
const started = performance.now()
const operations = await runFor(seconds)
const took = (performance.now() - started) / 1000
const cpu = process.cpuUsage(cpuStarted)
console.log(
  JSON.stringify({ operations, seconds: took, cpuSeconds: (cpu.user + cpu.system) / 1e6 }),
)
await ring.close()
