/** Opens two logs in a directory of its own, and tells as JSON on which engine, and what was warned of. */
import { Log } from '../../src/index.ts'
import { Ring } from '../../src/ring/index.ts'

const directory = process.argv[2]
const warnings: string[] = []
process.on('warning', warning => {
  if (warning.name === 'RiologWarning') warnings.push(warning.message)
})

async function write(name: string): Promise<[engine: string, found: string]> {
  await using log = await Log.open(`${directory}/${name}`)
  const lsn = await log.appendDurable(Buffer.from(name))
  return [log.info().engine, String(await log.read(lsn))]
}

async function refusal(open: () => Promise<unknown>): Promise<unknown> {
  try {
    await open()
  } catch (error) {
    return [(error as { code?: unknown }).code, (error as Error).message]
  }
}

const logs = [await write('first'), await write('second')]
const forced = await refusal(async () => {
  await using log = await Log.open(`${directory}/forced`, { engine: 'uring' })
  return log
})
const ring = await refusal(async () => Ring.open().close())
await new Promise(resolve => setImmediate(resolve))
console.log(JSON.stringify({ logs, warnings, forced, ring }))
