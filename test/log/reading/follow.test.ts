/** A tail in another process than the writer's: across rotation, kills and restarts, trims and rewinds. */
import { spawn } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Log } from '../../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { KIB } from '../../support/simulated.ts'

const CHILD = fileURLToPath(new URL('../../support/kill-child.ts', import.meta.url))
const LIVES = 3

/** Runs a writer until it has acknowledged so much, then kills it; what it acknowledged: LSN to id. */
async function writeAndDie(directory: string, engine: string, seed: number, records: number) {
  const args = ['--import=tsx', CHILD, directory, engine, `${seed}`, '8', '60000']
  // A file, since a pipe that nobody reads for a moment would end the writer.
  const output = `${directory}.${seed}.out`
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', openSync(output, 'w'), 'inherit'],
  })
  const ended = new Promise(resolve => child.once('exit', resolve))
  const lines = () => readFileSync(output, 'utf8').split('\n').slice(1, -1)
  while (lines().length < records && child.exitCode === null) await delay(20)
  child.kill('SIGKILL')
  await ended
  const acknowledged = new Map<number, [id: number, bytes: number]>()
  for (const line of lines()) {
    const [lsn, id, bytes] = line.split(' ').map(Number)
    acknowledged.set(lsn, [id, bytes])
  }
  return acknowledged
}

onEachEngine(t, 'each durable record once, in order, while writers die', async (t, engine) => {
  const directory = join(temporaryDirectory(t), 'log')
  await (await Log.open(directory, { engine, segmentSize: 4 * KIB * KIB })).close()
  const reader = await Log.open(directory, { engine, readOnly: true })
  const seen: { lsn: number; data: Buffer }[] = []
  const aborting = new AbortController()
  const following = (async () => {
    for await (const record of reader.tail({ signal: aborting.signal, pollMs: 2 }))
      seen.push(record)
  })()
  const acknowledged = new Map<number, [number, number]>()
  for (let life = 1; life <= LIVES; life++) {
    for (const [lsn, what] of await writeAndDie(directory, engine, life, 2000)) {
      acknowledged.set(lsn, what)
    }
  }
  const log = await Log.open(directory, { engine })
  const end = log.durableLsn
  const all: number[] = []
  for await (const { lsn } of log.scan()) all.push(lsn)
  await log.close()
  for (let i = 0; i < 1000 && (seen.at(-1)?.lsn ?? 0) < all.at(-1)!; i++) await delay(5)
  aborting.abort()
  await t.rejects(following, { code: 'ERR_RIOLOG_CANCELED' })
  await reader.close()
  const lsns = seen.map(({ lsn }) => lsn)
  t.same(lsns.length, all.length)
  t.ok(
    lsns.every((lsn, i) => lsn === all[i]),
    'once, in order',
  )
  const contents = new Map(seen.map(({ lsn, data }) => [lsn, data]))
  let lost = 0
  for (const [lsn, [id, bytes]] of acknowledged) {
    if (!contents.get(lsn)?.equals(payloadOf(id, bytes))) lost++
  }
  t.equal(lost, 0, `of ${acknowledged.size} acknowledged records`)
  t.ok(all.at(-1)! < end && end > 4 * KIB * KIB * LIVES, 'more than a segment a life')
})

onEachEngine(
  t,
  'it follows a writer of this process, and its trims and rewinds',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const options = { engine, segmentSize: 64 * KIB, idleStampMs: 2 }
    const log = await Log.open(directory, options)
    const reader = await Log.open(directory, { engine, readOnly: true })
    const tail = reader.tail({ pollMs: 1 })
    const lsns: number[] = []
    for (let i = 0; i < 40; i++) {
      lsns.push(...(await log.appendBatchDurable([payloadOf(i, 3000), payloadOf(i + 1, 30)])))
      if (i % 3 === 0) t.equal((await tail.next()).value?.lsn, lsns[i / 3])
    }
    let next = 14
    for (; next < 80; next++) t.equal((await tail.next()).value?.lsn, lsns[next])
    const middle = reader.tail({ from: lsns[41], pollMs: 1 })
    t.equal((await middle.next()).value?.lsn, lsns[41], 'not from the start of the group')

    const waiting = tail.next()
    const dropped = await log.appendDurable(payloadOf(1, 1))
    t.equal((await waiting).value?.lsn, dropped)
    await log.rewind(dropped)
    await t.rejects(tail.next(), { code: 'ERR_RIOLOG_REWOUND' })

    const slow = reader.tail({ from: lsns[3], pollMs: 1 })
    await log.trim(lsns[70])
    await t.rejects(slow.next(), { code: 'ERR_RIOLOG_TRIMMED' })
    const last = reader.tail({ from: log.durableLsn, pollMs: 1 })
    const left = last.next()
    await last.return?.()
    t.equal((await left).done, true, 'a loop that is left ends a wait')
    const open = reader.tail({ from: log.durableLsn, pollMs: 1 })
    const never = open.next()
    await reader.close()
    await t.rejects(never, { code: 'ERR_RIOLOG_CLOSED' })
    t.throws(() => reader.tail(), { code: 'ERR_RIOLOG_CLOSED' })
    await log.close()
  },
)
