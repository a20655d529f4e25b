/** Each way to open a directory and to read what is there. What comes out is a record of the original, or an error. */
import type { Disk } from '../../src/disk/disk.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, checkReplicaOptions } from '../../src/log/options.ts'
import { Codec } from '../../src/log/records/codec.ts'
import { Survey, survivors } from '../../src/log/recovery/survey.ts'
import { Replica } from '../../src/log/replication/replica.ts'
import type { Random } from '../support/random.ts'
import { isCoded, type Original } from './originals.ts'

/** More than any original has, several times over. */
const MOST_ITEMS = 20_000
const TAIL_RECORDS = 30
const TAIL_MS = 30

export class NotPromised extends Error {}

export interface Opening {
  readonly disk: () => Disk
  readonly path: string
  readonly original: Original
  readonly involved: ReadonlySet<Original>
  readonly random: Random
  /** Appended by the opening itself. */
  readonly added: Map<number, Buffer>
}

type Way = (opening: Opening) => Promise<void>

function checkRecord({ involved, added }: Opening, lsn: number, data: Buffer): void {
  if (added.get(lsn)?.equals(data)) return
  for (const { records } of involved) if (records.get(lsn)?.equals(data)) return
  throw new NotPromised(
    `LSN ${lsn} is shown with ${data.length} bytes that were never appended there`,
  )
}

/** An error that says what it is ends what is tried; any other one is a finding. */
async function allow<T>(run: () => Promise<T> | T): Promise<T | undefined> {
  try {
    return await run()
  } catch (error) {
    if (isCoded(error)) return undefined
    throw error
  }
}

function open(opening: Opening, readOnly: boolean): Promise<Log> {
  const { disk, path, original } = opening
  // The segment size is the log's own, unless there is no log any more.
  const { segmentSize, ...options } = original.options
  const checked = checkOptions({ ...options, readOnly, lockWaitMs: 0, idleStampMs: 5 })
  return Log.openOn(disk(), path, checked)
}

async function scan(log: Log, opening: Opening, reverse: boolean): Promise<void> {
  let items = 0
  let before = reverse ? Number.POSITIVE_INFINITY : -1
  for await (const { lsn, data } of log.scan({ reverse })) {
    checkRecord(opening, lsn, data)
    if (reverse ? lsn >= before : lsn <= before) throw new NotPromised(`LSN ${lsn} out of order`)
    before = lsn
    if (++items > MOST_ITEMS) throw new NotPromised('a scan goes on and on')
  }
}

async function readSome(log: Log, opening: Opening): Promise<void> {
  const { original, random, added } = opening
  const lsns = [...original.records.keys(), ...added.keys()]
  const asked = [0, 8, 2 ** 52, log.durableLsn, random.int(0, 2 ** 22)]
  for (let i = 0; i < 12 && lsns.length > 0; i++) {
    asked.push(lsns[random.int(0, lsns.length - 1)] + (random.chance(0.8) ? 0 : 8))
  }
  for (const lsn of asked) {
    await allow(async () => checkRecord(opening, lsn, await log.read(lsn)))
    if (random.chance(0.2)) await allow(() => log.hashAt(lsn))
  }
}

async function readRaw(log: Log): Promise<void> {
  let from = 0
  for (let chunks = 0; ; chunks++) {
    const chunk = await log.readRaw(from)
    if (chunk === undefined) return
    if (chunk.end <= from || chunks > MOST_ITEMS) throw new NotPromised('readRaw makes no headway')
    from = chunk.end
  }
}

async function tail(log: Log, opening: Opening): Promise<void> {
  let items = 0
  const signal = AbortSignal.timeout(TAIL_MS)
  for await (const { lsn, data } of log.tail({ signal, pollMs: 2 })) {
    checkRecord(opening, lsn, data)
    if (++items > TAIL_RECORDS) return
  }
}

/** All that reads, whatever one of them says. */
async function readAll(log: Log, opening: Opening): Promise<void> {
  await allow(() => scan(log, opening, false))
  await allow(() => scan(log, opening, true))
  await allow(() => readSome(log, opening))
  await allow(() => readRaw(log))
  if (opening.random.chance(0.05)) await allow(() => tail(log, opening))
}

async function write(log: Log, opening: Opening): Promise<void> {
  const { random, added } = opening
  const append = async (bytes: number) => {
    const data = Buffer.alloc(bytes, bytes)
    const lsn = await log.appendDurable(data)
    if (added.has(lsn)) throw new NotPromised(`LSN ${lsn} is given out twice`)
    added.set(lsn, data)
  }
  for (let i = random.int(1, 4); i > 0; i--) await append(random.int(0, 20_000))
  const batch = [1, 2, 3].map(fill => Buffer.alloc(500, fill))
  const lsns = await log.appendBatchDurable(batch)
  lsns.forEach((lsn, i) => {
    added.set(lsn, batch[i])
  })
  const { durableLsn } = log
  if (random.chance(0.3)) await allow(() => log.trim(random.int(0, durableLsn)))
  if (random.chance(0.3)) {
    const from = lsns[random.int(0, 2)]
    await log.rewind(from)
    for (const lsn of [...added.keys()]) if (lsn >= from) added.delete(lsn)
  }
  await append(100)
  for (const [lsn, data] of added) {
    if (lsn < log.trimLsn) continue
    if (!(await log.read(lsn)).equals(data)) throw new NotPromised(`LSN ${lsn} is not what it was`)
  }
}

async function openAndWrite(opening: Opening): Promise<void> {
  const log = await open(opening, false)
  try {
    await readAll(log, opening)
    await allow(() => write(log, opening))
    await readAll(log, opening)
  } finally {
    await allow(() => log.close())
  }
}

async function openToRead(opening: Opening): Promise<void> {
  const log = await open(opening, true)
  try {
    await readAll(log, opening)
  } finally {
    await log.close()
  }
}

/** What dump, stats, salvage and verify --deep go through. */
async function survey(opening: Opening): Promise<void> {
  const disk = opening.disk()
  try {
    const found = await Survey.open(disk, opening.path)
    try {
      let items = 0
      for await (const item of found.items()) {
        if (item.kind === 'group') {
          for (const { lsn } of item.records()) {
            if (lsn < item.group.lsn || lsn >= item.end)
              throw new NotPromised(`LSN ${lsn} is outside`)
          }
        }
        if (++items > MOST_ITEMS) throw new NotPromised('a survey goes on and on')
      }
      const { compression, encryption } = checkOptions(opening.original.options)
      const codec = new Codec({ compression, encryption }, { writes: false })
      for await (const item of survivors(found, codec)) {
        if (item.kind !== 'records') continue
        for (const { lsn, data } of item.records) checkRecord(opening, lsn, data)
      }
    } finally {
      found.close()
    }
  } finally {
    await disk.close()
  }
}

async function openReplica(opening: Opening): Promise<void> {
  const options = checkReplicaOptions({ lockWaitMs: 0 })
  const replica = await Replica.openOn(opening.disk(), opening.path, options)
  await allow(() => replica.close())
}

export const WAYS: Readonly<Record<string, Way>> = {
  survey,
  'read-only': openToRead,
  replica: openReplica,
  writing: openAndWrite,
}

/** What became of it: `opened`, or the error's code. */
export async function tryWay(way: Way, opening: Opening): Promise<string> {
  try {
    await way(opening)
    return 'opened'
  } catch (error) {
    if (isCoded(error)) return error.code
    throw error
  }
}
