/** The closed loop that every contender in JavaScript reads in. */

export const BLOCK = 4096

/** Before the clock starts, so that what is measured is compiled code. */
const WARM_UP_SECONDS = 0.3
/** A run has fewer. */
const MAX_SAMPLES = 4_000_000

/** What the block at `position` starts with, as a little-endian 32-bit integer; never 0. */
export function stampOf(position: number): number {
  return position / BLOCK + 1
}

/**
 * Resolves when the block at `position` is in the buffer of `worker`, with the 32-bit integer that
 * it starts with.
 */
export type ReadBlock = (worker: number, position: number) => Promise<number>

/**
 * `depth` workers, each of which reads one block at a time. Prints
 * {"operations":N,"seconds":S,"p50us":..,"p99us":..,"cpuSeconds":C}.
 */
export async function runRandomReads(
  read: ReadBlock,
  fileBytes: number,
  depth: number,
  seconds: number,
): Promise<void> {
  // Preallocated: the measuring must not make garbage that the reads are then charged for.
  const latencies = new Float64Array(MAX_SAMPLES)
  const blocks = fileBytes / BLOCK
  let samples = 0

  const worker = async (id: number, deadline: number) => {
    for (let now = performance.now(); now < deadline && samples < MAX_SAMPLES; ) {
      const position = Math.floor(Math.random() * blocks) * BLOCK
      const stamp = await read(id, position)
      if (stamp !== stampOf(position)) throw new Error(`another block than the one at ${position}`)
      const after = performance.now()
      latencies[samples++] = after - now
      now = after
    }
  }
  const runFor = (duration: number) => {
    const deadline = performance.now() + duration * 1000
    return Promise.all(Array.from({ length: depth }, (_, id) => worker(id, deadline)))
  }

  await runFor(WARM_UP_SECONDS)
  samples = 0
  const cpuStarted = process.cpuUsage()
  const started = performance.now()
  await runFor(seconds)
  const took = (performance.now() - started) / 1000
  const cpu = process.cpuUsage(cpuStarted)

  const sorted = latencies.subarray(0, samples).sort()
  const at = (part: number) => sorted[Math.floor(samples * part)] * 1000
  console.log(
    JSON.stringify({
      operations: samples,
      seconds: took,
      p50us: at(0.5),
      p99us: at(0.99),
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
    }),
  )
}
