/** Writes, reopens and reads a log on each engine that this Node has; scripts/prebuild.mjs runs it. */
import { deepStrictEqual } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Log } from '../dist/index.mjs'

const engines = []
for (const engine of ['threadpool', 'uring']) {
  const folder = mkdtempSync(join(tmpdir(), 'riolog-prebuild-'))
  try {
    await tryEngine(engine, folder)
    engines.push(engine)
  } catch (error) {
    if (error.code !== 'ERR_RIOLOG_NO_IO_URING') throw error
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
console.log(`written and read on ${engines.join(' and ')} by Node ${process.versions.node}`)

async function tryEngine(engine, folder) {
  const records = Array.from({ length: 1000 }, (_, i) => `record ${i} ${'x'.repeat(i)}`)
  const log = await Log.open(folder, { engine, segmentSize: 65536 })
  await Promise.all(records.map(record => log.appendDurable(Buffer.from(record))))
  await log.close()
  const reopened = await Log.open(folder, { engine })
  const found = []
  for await (const { data } of reopened.scan()) found.push(String(data))
  await reopened.close()
  deepStrictEqual(found, records)
}
