/**
 * Files that somebody has made on purpose: fields changed at random in the manifest, in segment headers
 * and in group headers, with checksums that fit. Opening must end, with what it can verify or with a
 * coded error. RIOLOG_SEED reproduces, RIOLOG_RUNS makes it longer.
 */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { RiologError } from '../../../src/errors.ts'
import { COPY_AT, MANIFEST_NAME } from '../../../src/log/segments/manifest.ts'
import { addon } from '../../../src/native.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { openSimulated } from '../../support/simulated.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 1500)
const A = 4096

function crc(bytes: Uint8Array, ...ranges: [number, number][]): number {
  return ranges.reduce((seed, [from, to]) => addon().crc32c(seed, bytes, from, to), 0)
}

/** Values that break arithmetic when nobody looks at them. */
const NASTY = [0, 1, 7, 511, 4095, 4097, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]

function change(bytes: Uint8Array, from: number, to: number, random: Random): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const at = from + 4 * random.int(0, (to - from) / 4 - 1)
  const value = random.chance(0.5) ? NASTY[random.int(0, NASTY.length - 1)] : random.int(0, 2 ** 31)
  view.setUint32(at, value, true)
}

function forge(device: SimulatedDevice, random: Random): void {
  // Not a file whose preparation the kill has cut short.
  const isWhole = (name: string) => name.endsWith('.seg') && device.bytesOf(name).length >= 8 * A
  const segments = device.names().filter(isWhole)
  const file = segments[random.int(0, segments.length - 1)]
  const set = (bytes: Uint8Array, at: number, value: number) =>
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value, true)
  switch (random.int(0, 2)) {
    case 0:
      device.damage(MANIFEST_NAME, bytes => {
        const copies = random.chance(0.7) ? COPY_AT : [COPY_AT[random.int(0, 1)]]
        const from = random.int(0, 2 ** 30)
        for (const at of copies) {
          const copy = bytes.subarray(at, at + 512)
          change(copy, 16, 96, new Random(from)) // both copies alike
          set(copy, 12, crc(copy, [0, 12], [16, 96]))
        }
        return undefined
      })
      break
    case 1:
      device.damage(file, bytes => {
        change(bytes, 16, 96, random)
        const length = new DataView(bytes.buffer).getUint32(92, true)
        if (96 + length <= bytes.length) set(bytes, 12, crc(bytes, [0, 12], [16, 96 + length]))
        return undefined
      })
      break
    default:
      device.damage(file, bytes => {
        const group = bytes.subarray(A * random.int(1, 5))
        change(group, 16, 64, random)
        set(group, 0, crc(group, [4, 64]))
        return undefined
      })
  }
}

async function tryOut(device: SimulatedDevice, readOnly: boolean): Promise<string> {
  try {
    const log = await openSimulated(device, { readOnly })
    let records = 0
    for await (const { lsn } of log.scan()) {
      await log.read(lsn)
      records++
    }
    if (!readOnly) await log.appendDurable(Buffer.from('on top'))
    await log.close()
    return `opened with ${records} records`
  } catch (error) {
    if (error instanceof RiologError) return error.code
    throw error
  }
}

t.test('forged files', async t => {
  const first = chooseSeed()
  const base = new SimulatedDevice()
  const log = await openSimulated(base)
  for (let i = 0; i < 12; i++) await log.appendDurable(Buffer.alloc(9000, i))
  await log.close()
  const killed = await (async () => {
    const device = base.afterKill()
    const again = await openSimulated(device)
    for (let i = 0; i < 3; i++) await again.appendDurable(Buffer.alloc(100, i))
    return device.afterKill()
  })()
  const outcomes = new Map<string, number>()
  for (let seed = first; seed < first + RUNS; seed++) {
    const random = new Random(seed)
    const device = (random.chance(0.5) ? base : killed).afterKill()
    for (let n = random.int(1, 3); n > 0; n--) forge(device, random)
    for (const readOnly of [true, false]) {
      try {
        const outcome = await tryOut(device, readOnly)
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      } catch (error) {
        t.fail(`RIOLOG_SEED=${seed} RIOLOG_RUNS=1: no coded error`, { error })
        return
      }
    }
  }
  t.comment(`seed ${first}`, [...outcomes])
  t.ok(outcomes.has('ERR_RIOLOG_CORRUPT'), 'forgeries were found out')
})

/** As a later riolog would write a record: the flag is not known here, all checksums fit. */
function setFlags(group: Uint8Array, salt: Uint8Array, lsn: number, flags: number): void {
  const view = new DataView(group.buffer, group.byteOffset)
  const record = group.subarray(64)
  view.setUint32(64 + 8, flags, true)
  const place = Buffer.alloc(16)
  place.set(salt)
  place.writeBigUInt64LE(BigInt(lsn), 8)
  const length = view.getUint32(64 + 4, true)
  const sum = addon().crc32c(crc(place, [0, 16]), record, 4, 12 + length)
  view.setUint32(64, sum, true)
  view.setUint32(4, crc(record, [0, 12]), true) // the group holds one record
  view.setUint32(0, crc(group, [4, 64]), true)
}

t.test('a flag of a later version is told as such, and nothing is written', async t => {
  for (const flags of [16, 2 ** 8, 2 ** 31]) {
    for (const isClosed of [false, true]) {
      const device = new SimulatedDevice()
      const log = await openSimulated(device)
      const before = await log.appendDurable(Buffer.from('before'))
      const lsn = await log.appendDurable(Buffer.from('of the future'))
      if (isClosed) await log.close()
      const later = device.afterKill()
      const [name] = later.names().filter(name => name.endsWith('.seg'))
      later.damage(name, bytes => {
        const at = lsn - 64 - 64 * 1024
        setFlags(bytes.subarray(at, at + A), bytes.subarray(48, 56), lsn, flags)
        return undefined
      })
      const future = { code: 'ERR_RIOLOG_FUTURE_VERSION' }
      if (!isClosed) {
        let writes = 0
        later.interference = ({ kind }) => {
          if (kind === 'write') writes++
          return undefined
        }
        await t.rejects(openSimulated(later), future)
        await t.rejects(openSimulated(later, { readOnly: true }), future)
        t.equal(writes, 0)
        continue
      }
      const opened = await openSimulated(later)
      t.equal(String(await opened.read(before)), 'before')
      await t.rejects(opened.read(lsn), future)
      const scan = opened.scan()
      t.equal((await scan.next()).value?.lsn, before)
      await t.rejects(scan.next(), future)
      await opened.close()
    }
  }
})
