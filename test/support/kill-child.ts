/**
 * The victim of the kill tests: appends records of random sizes from concurrent callers and reports
 * each acknowledged one, as `lsn id bytes` on a line of standard output, until it is killed.
 *
 * Arguments: directory, engine, seed, callers, largest record in bytes.
 */
import { writeSync } from 'node:fs'
import { Log } from '../../src/index.ts'
import { payloadOf } from './oracle.ts'
import { Random } from './random.ts'

const [directory, engine, seed, callers, largest] = process.argv.slice(2)
const random = new Random(Number(seed))

const log = await Log.open(directory, {
  engine: engine as 'uring' | 'threadpool',
  segmentSize: 4 << 20,
})
// Ids say in which life and by which append a record was made.
let id = Number(seed) * 100_000
writeSync(1, 'ready\n')

const caller = async () => {
  for (;;) {
    const bytes = random.chance(0.8) ? random.int(0, 2000) : random.int(0, Number(largest))
    const mine = id++
    const lsn = await log.appendDurable(payloadOf(mine, bytes))
    // A blocking write to the pipe: once it returns, a kill cannot take the report back.
    writeSync(1, `${lsn} ${mine} ${bytes}\n`)
  }
}
await Promise.all(Array.from({ length: Number(callers) }, caller))
