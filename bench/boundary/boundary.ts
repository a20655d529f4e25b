/**
 * `npm run bench:boundary`: NOPs per second from JavaScript, by one native call for each request and
 * by requests written into shared memory with one call for all, in interleaved rounds.
 */
import { createRequire } from 'node:module'
import { IORING_OP_NOP, NEVER_QUIET, NO_MEMORY, REQUEST_BYTES } from '../../src/ring/abi.ts'
import { median, spread } from '../statistics.ts'

interface Boundary {
  open(entries: number): ArrayBuffer | undefined
  stageOne(
    opcode: number,
    fd: number,
    slot: number,
    length: number,
    fileOffset: number,
    opFlags: number,
  ): void
  stageArea(count: number): void
  finish(): number
}

const ENTRIES = 256
const ROUNDS = 9
const ROUND_MS = 200
const WORDS = REQUEST_BYTES / 4

const boundary = createRequire(import.meta.url)(
  '../../build-bench/Release/boundary.node',
) as Boundary
const area = boundary.open(ENTRIES)
if (area === undefined) throw new Error('no io_uring here')
const words = new Int32Array(area)
const doubles = new Float64Array(area)

function byCalls(batch: number): void {
  for (let slot = 0; slot < batch; slot++) boundary.stageOne(IORING_OP_NOP, -1, slot, 0, 0, 0)
}

/** All the fields that a read or write has, so that the comparison is fair. */
function bySharedMemory(batch: number): void {
  for (let slot = 0; slot < batch; slot++) {
    const word = slot * WORDS
    words[word] = IORING_OP_NOP
    words[word + 1] = -1
    words[word + 2] = slot
    words[word + 3] = 0
    words[word + 8] = NO_MEMORY
    words[word + 9] = 0
    words[word + 10] = NEVER_QUIET
    doubles[word / 2 + 2] = 0
    doubles[word / 2 + 3] = 0
  }
  boundary.stageArea(batch)
}

function rate(stage: (batch: number) => void, batch: number): number {
  const started = performance.now()
  let done = 0
  while (performance.now() - started < ROUND_MS) {
    stage(batch)
    done += boundary.finish()
  }
  return (done / (performance.now() - started)) * 1000
}

console.log('NOPs per second; ratio of shared memory to a call for each request, medians')
for (const batch of [1, 2, 32, 256]) {
  const calls: number[] = []
  const shared: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    calls.push(rate(byCalls, batch))
    shared.push(rate(bySharedMemory, batch))
  }
  const ratios = shared.map((value, i) => value / calls[i])
  const millions = (values: number[]) => (median(values) / 1e6).toFixed(2).padStart(6)
  console.log(
    `batch ${String(batch).padStart(3)}: calls ${millions(calls)} M, shared memory ` +
      `${millions(shared)} M, ratio ${median(ratios).toFixed(2)} (${spread(ratios)})`,
  )
}
