/** An independent reader, written from docs/FORMAT.md, and riolog find the same in the same files. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { payloadOf } from '../support/oracle.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { KIB, openSimulated, recordsOf } from '../support/simulated.ts'
// @ts-expect-error TS7016: plain JavaScript, as a stranger would write it
import { crc32c, Damage, readLog } from './reader.mjs'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 40)
/** Of the logs that are compressed and encrypted: the key that is in use, and the one before. */
const KEYS: Record<number, Buffer> = { 7: Buffer.alloc(32, 7), 9: Buffer.alloc(32, 9) }
const packed = (keyId: number): LogOptions => ({
  compression: 'deflate',
  encryption: { keyId, key: id => KEYS[id], acceptPlain: true },
})
const SMALL = { segmentSize: 64 * KIB, maxGroupBytes: 8 * KIB }

interface Found {
  end: number
  records: { lsn: number; data: Buffer }[]
}

const plain = (records: readonly { lsn: number; data: Buffer }[]) =>
  records.map(({ lsn, data }) => `${lsn} ${crc32c(data)} ${data.length}`)

async function append(log: Log, random: Random, count: number): Promise<number[]> {
  const lsns: number[] = []
  for (let i = 0; i < count; i++) {
    const payload = () =>
      payloadOf(i, random.chance(0.1) ? random.int(0, log.maxRecordBytes) : random.int(0, 900))
    if (random.chance(0.05)) {
      const long = payloadOf(i, log.maxRecordBytes - random.int(0, 4000))
      lsns.push(await log.appendDurable(long))
    } else if (random.chance(0.3)) {
      const batch = Array.from({ length: random.int(1, 9) }, () =>
        payloadOf(i, random.int(0, 4000)),
      )
      lsns.push(...(await log.appendBatchDurable(batch)))
    } else if (random.chance(0.5)) lsns.push(await log.appendDurable(payload()))
    else lsns.push(...(await log.appendBatchDurable([payload()])))
  }
  return lsns
}

t.test('it is short enough to be read', async t => {
  const source = readFileSync(fileURLToPath(new URL('./reader.mjs', import.meta.url)), 'utf8')
  t.ok(source.split('\n').length < 300)
  t.notMatch(source, /\.\.\/src|riolog_core|addon/)
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

onEachEngine(t, 'logs of the real engines, trimmed, rewound, reopened', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const random = new Random(chooseSeed())
  let lsns: number[] = []
  for (let opening = 0; opening < 5; opening++) {
    const more = opening === 0 ? {} : packed(opening < 3 ? 7 : 9)
    const log = await Log.open(directory, { ...SMALL, engine, ...more })
    lsns = [...lsns, ...(await append(log, random, 20))]
    if (opening % 2 === 1) await log.rewind(lsns[lsns.length - random.int(2, 5)]).catch(() => {})
    if (opening > 1) await log.trim(lsns[random.int(0, lsns.length >> 1)])
    const wanted = plain(await recordsOf(log))
    const end = log.durableLsn
    await log.close()
    const found = readLog(directory, KEYS) as Found
    t.equal(found.end, end)
    t.same(plain(found.records), wanted)
  }
})

/** The files of a device as they are, in a directory. */
function dump(device: SimulatedDevice, directory: string): void {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory)
  for (const name of device.names()) writeFileSync(`${directory}/${name}`, device.bytesOf(name))
}

/** What a log says of a damaged byte: it may be one of the version or of the log's name, which are looked at first. */
const DAMAGE = ['ERR_RIOLOG_CORRUPT', 'ERR_RIOLOG_FOREIGN', 'ERR_RIOLOG_FUTURE_VERSION']

t.test('crashed and damaged logs: the same end, or damage to both', async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const directory = `${temporaryDirectory(t)}/log`
  const verdicts = { whole: 0, damaged: 0 }
  for (let run = 0; run < RUNS; run++) {
    const random = new Random(seed + run)
    let device = new SimulatedDevice()
    const options = random.chance(0.5) ? SMALL : { ...SMALL, ...packed(7) }
    for (let life = 0; life < 2; life++) {
      const log = await openSimulated(device, options)
      const lsns = await append(log, random, random.int(1, 15))
      if (random.chance(0.3)) await log.rewind(lsns[random.int(0, lsns.length - 1)]).catch(() => {})
      for (let i = random.int(0, 5); i > 0; i--) {
        try {
          log.append(payloadOf(i, random.int(0, 9000)))
        } catch {
          break
        }
      }
      if (random.chance(0.5)) await new Promise(resolve => setImmediate(resolve))
      device = device.afterPowerCut(() => random.chance(0.6))
    }
    if (random.chance(0.5)) {
      const names = device.names()
      device.damage(names[random.int(0, names.length - 1)], bytes => {
        const at = random.int(0, Math.min(bytes.length, 40_000) - 1)
        bytes[at] ^= 1 << random.int(0, 7)
        return undefined
      })
    }
    dump(device, directory)
    let found: Found | string
    try {
      found = readLog(directory, KEYS) as Found
    } catch (error) {
      if (!(error instanceof Damage)) throw error
      found = 'damage'
    }
    let wanted: Found | string
    try {
      const log = await openSimulated(device, options)
      wanted = { end: log.recovery.end, records: await recordsOf(log) }
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === undefined || !DAMAGE.includes(code)) throw error
      wanted = 'damage'
    }
    verdicts[wanted === 'damage' ? 'damaged' : 'whole']++
    const same =
      typeof found === 'string' || typeof wanted === 'string'
        ? found === wanted
        : found.end === wanted.end && plain(found.records).join() === plain(wanted.records).join()
    if (!same) t.fail(`RIOLOG_SEED=${seed + run} RIOLOG_RUNS=1`, { found, wanted })
  }
  t.ok(verdicts.whole > 0, `${verdicts.whole} whole, ${verdicts.damaged} damaged`)
})
