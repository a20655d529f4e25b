/**
 * The log in ten lines: `npx tsx examples/append.ts [directory]`. Without a directory the log is a
 * temporary one.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Log } from '../src/index.ts'

const temporary = process.argv[2] === undefined
const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'riolog-append-'))

async function main(): Promise<void> {
  await using log = await Log.open(directory)

  const first = log.append(Buffer.from('one')) // In order, and not yet durable.
  log.append(Buffer.from('two'))
  await log.flush() // Both survive a power cut from here on.

  const third = await log.appendDurable(Buffer.from('three')) // Concurrent callers share one sync.

  for await (const { lsn, data } of log.scan({ from: first })) console.log(`${lsn}: ${data}`)
  console.log(`read ${third}: ${await log.read(third)}`)
  console.log(`durable up to ${log.durableLsn}`)
}

try {
  await main()
} finally {
  if (temporary) rmSync(directory, { recursive: true })
}
