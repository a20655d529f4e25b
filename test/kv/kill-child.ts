/**
 * The victim of the kill test: writes from some callers and reports each acknowledged write, as JSON on a
 * line of standard output, until it is killed. Each caller has keys of its own, and waits for each write.
 *
 * Arguments: directory, seed, callers.
 */
import { RiologLevel } from '../../examples/kv/src/index.ts'
import { Random } from '../support/random.ts'
import { tellLine } from '../support/tell.ts'
import { type Change, KEYS, type Report, writtenValue } from './kill-changes.ts'

const [directory, seed, callers] = process.argv.slice(2)
const random = new Random(Number(seed))
const db = new RiologLevel(directory, {
  checkpointBytes: 128 * 1024,
  logOptions: { segmentSize: 1 << 20 },
})
await db.open()
tellLine('ready')

async function call(caller: number): Promise<void> {
  for (let count = 0; ; count++) {
    const change = (): Change => ({
      key: `${caller}-${random.int(0, KEYS - 1)}`,
      id: `${seed}.${caller}.${count}`,
      length: random.chance(0.2) ? random.int(4096, 20_000) : random.int(-500, 2000),
    })
    const changes = Array.from({ length: random.chance(0.3) ? 3 : 1 }, change)
    // Told before it begins, so that what is found and was not acknowledged is known, too.
    tell({ caller, begun: changes })
    await db.batch(changes.map(operationOf), { sync: true } as object)
    tell({ caller })
  }
}

function operationOf(change: Change) {
  const { key } = change
  const value = writtenValue(change)
  if (value === undefined) return { type: 'del', key } as const
  return { type: 'put', key, value } as const
}

function tell(report: Report): void {
  tellLine(JSON.stringify(report))
}

await Promise.all(Array.from({ length: Number(callers) }, (_, caller) => call(caller)))
