import { PassThrough } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { showProgress, Tally } from '../../src/cli/progress.ts'

/** What is drawn while a tally grows to three records. */
async function drawn(isTTY: boolean, end?: number): Promise<string> {
  const terminal = Object.assign(new PassThrough(), { isTTY, columns: 200 })
  const tally = new Tally()
  const course = end === undefined ? undefined : { end, before: (lsn: number) => lsn }
  const stop = showProgress(tally, course, terminal)
  for (const size of [1024, 1024, 1024]) tally.add(size)
  tally.lsn = 50
  await setTimeout(350)
  stop()
  terminal.end()
  return Buffer.concat(await terminal.toArray()).toString()
}

t.test('a terminal sees records, bytes and rate', async t => {
  const text = await drawn(true)
  t.match(text, /3 records, 3 KiB, [\d.]+ [KM]?i?B\/s/)
  t.notMatch(text, '%')
})

t.test('and how much of the whole, where that is known', async t => {
  t.match(await drawn(true, 200), /25% \| 3 records/)
})

t.test('anything else sees nothing', async t => {
  t.equal(await drawn(false, 200), '')
})
