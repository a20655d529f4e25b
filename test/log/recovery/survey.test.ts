/** What is left of a log whose segment headers are lost, beside files that were made ahead and never were segments. */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { type Hole, Survey } from '../../../src/log/recovery/survey.ts'
import { segmentName } from '../../../src/segment/format.ts'
import { KIB, openSimulated } from '../../support/simulated.ts'

const SEGMENT = 64 * KIB

/** Six segments of one record each. */
async function written(): Promise<{ device: SimulatedDevice; numbers: number[] }> {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { zeroedSegments: 0, idleStampMs: 0 })
  for (let i = 0; i < 6; i++) await log.appendDurable(Buffer.alloc(SEGMENT - 12 * KIB, i + 1))
  const numbers = log.info().segments.map(({ number }) => number)
  await log.close()
  return { device, numbers }
}

/** The numbers of the segments whose groups verify, and the holes. */
async function surveyed(device: SimulatedDevice) {
  const survey = await Survey.open(new SimulatedDisk(device), 'simulated')
  const segments = new Set<number>()
  const holes: Hole[] = []
  for await (const item of survey.items()) {
    if (item.kind === 'group' && item.group.recordCount > 0) segments.add(item.segment)
    if (item.kind === 'hole') holes.push(item)
  }
  survey.close()
  return { segments: [...segments], holes }
}

/** Its first block is garbage from now on. */
function losesHeader(device: SimulatedDevice, number: number): void {
  const bytes = Buffer.from(device.bytesOf(segmentName(number))!)
  device.putFile(segmentName(number), bytes.fill(7, 0, 4 * KIB))
}

t.test('a segment whose header is lost is a hole, and what is before it is there', async t => {
  const { device, numbers } = await written()
  losesHeader(device, numbers[3])
  const { segments, holes } = await surveyed(device)
  t.same(segments, numbers.toSpliced(3, 1))
  t.same(
    holes.map(({ segment }) => segment),
    [numbers[3]],
  )
})

t.test('so are two of them, one behind the other', async t => {
  const { device, numbers } = await written()
  losesHeader(device, numbers[2])
  losesHeader(device, numbers[3])
  const { segments, holes } = await surveyed(device)
  t.same(segments, numbers.toSpliced(2, 2))
  t.same(
    holes.map(({ segment }) => segment),
    [numbers[2], numbers[3]],
  )
})

t.test('a file full of zeros is none of them', async t => {
  const { device, numbers } = await written()
  const made = segmentName(numbers.at(-1)! + 1)
  device.putFile(made, Buffer.alloc(SEGMENT))
  const log = await openSimulated(device, { idleStampMs: 0, zeroedSegments: 0 })
  await log.appendDurable(Buffer.from('of another opening'))
  const { number } = log.info().segments.at(-1)!
  await log.close()
  t.equal(number, numbers.at(-1)! + 2, 'no number is used twice')
  device.putFile(made, Buffer.alloc(SEGMENT)) // which this opening may have taken away
  losesHeader(device, number)
  const { segments, holes } = await surveyed(device)
  t.same(segments, numbers)
  t.same(
    holes.map(({ segment }) => segment),
    [number],
  )
})
