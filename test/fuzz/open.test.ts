/**
 * Damaged and forged directories, opened in each way, for a short time: `npm run fuzz:open` is the long one.
 * RIOLOG_SEED with RIOLOG_RUNS=1 does a failure again.
 */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { checkReplicaOptions } from '../../src/log/options.ts'
import { Survey } from '../../src/log/recovery/survey.ts'
import { Replica } from '../../src/log/replication/replica.ts'
import { COPY_AT, MANIFEST_NAME } from '../../src/log/segments/manifest.ts'
import { addon } from '../../src/native.ts'
import { chooseSeed } from '../support/random.ts'
import { makeOriginals } from './originals.ts'
import { runSeed } from './simulated-run.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 120)
/** What was found by fuzzing stays found: the directories that did not keep a promise once. */
const FOUND = [5130, 5234, 5282]

t.test('damaged directories', async t => {
  const originals = await makeOriginals()
  const first = chooseSeed()
  const outcomes = new Map<string, number>()
  const seeds = Array.from({ length: RUNS }, (_, i) => first + i)
  for (const seed of [...FOUND, ...seeds]) {
    const failure = await runSeed(seed, originals, ({ what }) => {
      outcomes.set(what, (outcomes.get(what) ?? 0) + 1)
    })
    if (failure !== undefined) return void t.fail(`RIOLOG_SEED=${seed} RIOLOG_RUNS=1`, failure)
  }
  t.comment(`seed ${first}`, [...outcomes])
  if (RUNS < 20) return
  t.ok(outcomes.has('opened'), 'some are good enough to be opened')
  t.ok(outcomes.has('ERR_RIOLOG_CORRUPT'), 'some are found out')
})

t.test('a survey looks at no block that a file does not have', async t => {
  const [, original] = await makeOriginals()
  const device = new SimulatedDevice()
  const segmentSize = 2 ** 34
  for (const [name, bytes] of original.files)
    device.putFile(name, claiming(name, bytes, segmentSize))
  const survey = await Survey.open(new SimulatedDisk(device), 'simulated')
  const before = device.operations
  const holes: number[] = []
  for await (const item of survey.items()) if (item.kind === 'hole') holes.push(item.from)
  survey.close()
  t.ok(holes.length > 0, 'what the header claims and the file has not is told as lost')
  t.ok(device.operations - before < 1000, `${device.operations - before} operations`)
})

/** The manifest's floor, lowered by so many blocks in both copies. */
function lowerFloor(device: SimulatedDevice, blocks: number): void {
  device.damage(MANIFEST_NAME, bytes => {
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    const { crc32c } = addon()
    for (const at of COPY_AT) {
      view.setBigUint64(at + 80, view.getBigUint64(at + 80, true) - BigInt(4096 * blocks), true)
      const copy = bytes.subarray(at, at + 96)
      view.setUint32(at + 12, crc32c(crc32c(0, copy, 0, 12), copy, 16, 96), true)
    }
    return undefined
  })
}

t.test('a replica that cannot be opened lets go of its lock', async t => {
  const [original] = await makeOriginals()
  const options = checkReplicaOptions({ lockWaitMs: 0 })
  let refused = 0
  for (let blocks = 1; blocks <= 8; blocks++) {
    const device = new SimulatedDevice()
    for (const [name, bytes] of original.files) device.putFile(name, bytes)
    // Within a group, where nothing ends, so that there is no hash of what does.
    lowerFloor(device, blocks)
    const codeOf = () =>
      Replica.openOn(new SimulatedDisk(device), 'simulated', options).then(
        replica => replica.close().then(() => 'opened'),
        error => error.code,
      )
    const code = await codeOf()
    if (code === 'opened') continue
    refused++
    t.equal(await codeOf(), code, `${blocks} blocks lower`)
  }
  t.ok(refused > 0, `${refused} were refused`)
})

/** Manifest and headers name a size that the files do not have, with checksums that fit. */
function claiming(name: string, bytes: Uint8Array, segmentSize: number): Uint8Array {
  const forged = bytes.slice()
  const view = new DataView(forged.buffer)
  const fields =
    name === MANIFEST_NAME
      ? COPY_AT.map(at => [at, at + 32])
      : [
          [0, 72],
          [0, 80],
        ]
  for (const [start, at] of fields) {
    view.setBigUint64(at, BigInt(segmentSize), true)
    const copy = forged.subarray(start, start + 512)
    const { crc32c } = addon()
    view.setUint32(start + 12, crc32c(crc32c(0, copy, 0, 12), copy, 16, 96), true)
  }
  return forged
}
