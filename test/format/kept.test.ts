/** A log that an earlier riolog has left is read, record by record, and goes on (docs/UPGRADING.md). */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log, Replica } from '../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { KEPT, type Kept, OPTIONS, restore, told } from './kept-log.ts'

const kept: Kept = JSON.parse(readFileSync(KEPT, 'utf8'))

async function recordsOf(log: Log): Promise<Kept['records']> {
  const records = []
  for await (const { lsn, data } of log.scan()) records.push({ lsn, text: told(data) })
  return records
}

t.ok(kept.records.length >= 8, 'the log has something to read')

onEachEngine(t, 'the kept log of version 1', async (t, engine) => {
  const directory = temporaryDirectory(t)
  restore(kept, directory)
  const bytesOf = (name: string) => readFileSync(join(directory, name))
  const names = readdirSync(directory).sort()
  const before = names.map(bytesOf)
  const reader = await Log.open(directory, { ...OPTIONS, engine, readOnly: true })
  t.same(await recordsOf(reader), kept.records)
  t.equal(reader.trimLsn, kept.trimLsn)
  await reader.close()
  t.same(names.map(bytesOf), before, 'reading writes nothing')

  const writer = await Log.open(directory, { ...OPTIONS, engine })
  t.equal(writer.recovery.verdict, 'clean end')
  for (const { lsn, text } of kept.records) t.equal(told(await writer.read(lsn)), text)
  const lsn = await writer.appendDurable(Buffer.from('new'))
  await writer.close()
  const again = await Log.open(directory, { ...OPTIONS, engine })
  t.same(await recordsOf(again), [...kept.records, { lsn, text: 'new' }])
  await again.close()
  for (const name of names.filter(name => name.endsWith('.seg'))) {
    t.same(bytesOf(name), before[names.indexOf(name)], `${name} is as it was`)
  }
})

t.test('a copy refuses what a later version of the format sends', async t => {
  const directory = temporaryDirectory(t)
  const source = await Log.open(join(directory, 'source'), { segmentSize: 64 << 10 })
  await source.appendDurable(Buffer.from('new'))
  const chunk = (await source.readRaw(0))!
  chunk.header![8]++ // The version.
  const copy = await Replica.open(join(directory, 'copy'))
  await t.rejects(copy.apply(chunk), { code: 'ERR_RIOLOG_FUTURE_VERSION' })
  t.equal(copy.end, 0, 'nothing was taken')
  await copy.close()
  await source.close()
})
