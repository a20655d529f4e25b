/** One byte of a closed log is changed, every one of them in turn. */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { CorruptionError, RiologError } from '../../../src/errors.ts'
import {
  GROUP_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
} from '../../../src/segment/format.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { openSimulated } from '../../support/simulated.ts'

const A = 4096
const FILE = '0000000000000001.seg'
const VERSION_AT = 8

type Outcome = { kind: 'intact' } | { kind: 'error'; error: RiologError } | { kind: 'wrong' }

async function look(device: SimulatedDevice, expected: readonly Buffer[]): Promise<Outcome> {
  try {
    const log = await openSimulated(device, { readOnly: true })
    let index = 0
    for await (const { data } of log.scan()) {
      if (!expected[index++]?.equals(data)) return { kind: 'wrong' }
    }
    await log.close()
    return { kind: index === expected.length ? 'intact' : 'wrong' }
  } catch (error) {
    if (error instanceof RiologError) return { kind: 'error', error }
    throw error
  }
}

t.test('every single byte of a small closed log', async t => {
  const random = new Random(chooseSeed())
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const records = [[0, 1, 7], [700], [8, 4070, 3]].map(group => group.map(n => Buffer.alloc(n, n)))
  const covered = new Map<number, number>() // offset in the file -> LSN of what it belongs to
  const cover = (from: number, length: number, lsn: number) => {
    for (let at = from; at < from + length; at++) covered.set(at, lsn)
  }
  cover(0, SEGMENT_HEADER_BYTES, 0)
  cover(A, GROUP_HEADER_BYTES, 64 * 1024 + A) // the link group
  for (const group of records) {
    const lsns = group.map(data => log.append(data))
    await log.flush()
    const base = 64 * 1024
    cover(lsns[0] - base - GROUP_HEADER_BYTES, GROUP_HEADER_BYTES, lsns[0] - GROUP_HEADER_BYTES)
    for (const [i, data] of group.entries()) {
      cover(lsns[i] - base, RECORD_HEADER_BYTES + data.length, lsns[i])
    }
  }
  const used = log.durableLsn - 64 * 1024
  await log.close()
  const expected = records.flat()
  t.same(await look(device, expected), { kind: 'intact' }, 'whole before')

  const change = (at: number, by: number) =>
    device.damage(FILE, bytes => {
      bytes[at] ^= by
      return bytes
    })
  const findings: string[] = []
  let reported = 0
  let harmless = 0
  for (let at = 0; at < used + A; at++) {
    const by = random.int(1, 255)
    change(at, by)
    const outcome = await look(device, expected)
    change(at, by)
    const lsn = covered.get(at)
    const isVersion = at >= VERSION_AT && at < VERSION_AT + 4
    if (outcome.kind === 'intact' && lsn === undefined) harmless++
    else if (outcome.kind === 'error' && lsn !== undefined) {
      const { error } = outcome
      const told =
        error instanceof CorruptionError
          ? error.segment === 1 && error.offset <= at && error.lsn === 64 * 1024 + error.offset
          : isVersion && error.code === 'ERR_RIOLOG_FUTURE_VERSION'
      if (told) reported++
      else findings.push(`byte ${at}: ${error.code} ${error.message}`)
    } else findings.push(`byte ${at}: ${outcome.kind}`)
  }
  t.same(findings, [])
  t.equal(reported, covered.size, 'each byte that something sums is reported')
  t.equal(harmless, used + A - covered.size, 'each byte of padding harms nothing')
  t.comment(`${reported} reported, ${harmless} harmless`)
})
