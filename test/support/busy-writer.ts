/**
 * A process that appends, rotates, trims and rewinds a log for others to read, and tells LSNs that it
 * has made durable. Arguments: directory, engine.
 */
import { Log } from '../../src/index.ts'
import { payloadOf } from './oracle.ts'
import { Random } from './random.ts'

const [directory, engine] = process.argv.slice(2) as [string, 'uring' | 'threadpool']
const OPENINGS = 4
const ROUNDS = 150
const random = new Random(7)
let id = 0
for (let opening = 0; opening < OPENINGS; opening++) {
  const log = await Log.open(directory, { engine, segmentSize: 64 * 1024, idleStampMs: 1 })
  for (let round = 0; round < ROUNDS; round++) {
    const batch = Array.from({ length: random.int(1, 6) }, () =>
      payloadOf(id++, random.int(8, 5000)),
    )
    const [lsn] = await log.appendBatchDurable(batch)
    console.log(`${lsn}`)
    if (random.chance(0.1)) await log.rewind(lsn)
    else if (random.chance(0.05)) {
      const from = log.durableLsn - random.int(0, 400_000)
      for await (const record of log.scan()) {
        if (record.lsn < from) continue
        await log.trim(record.lsn)
        break
      }
    }
  }
  await log.close()
}
console.log('end')
// The reader may still be looking.
process.stdin.resume()
