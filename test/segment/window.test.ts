/** Reads ahead: each byte once, in its order, and never into memory that somebody else has by now. */
import t from 'tap'
import type { DiskFile } from '../../src/disk/disk.ts'
import { ioError, SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { type Hold, WINDOW_BYTES, Window } from '../../src/segment/window.ts'
import { but } from '../support/simulated.ts'

const MIB = 1 << 20
const A = 4096
const FILE_BYTES = 9 * MIB + 3 * A

/** Each word names its own place. */
function contents(): Uint8Array {
  const words = new Uint32Array(FILE_BYTES / 4).map((_, i) => i * 4)
  return new Uint8Array(words.buffer)
}

function isRight(bytes: Uint8Array, position: number): boolean {
  const expected = whole.subarray(position, position + bytes.length)
  return Buffer.compare(bytes, expected) === 0
}

const whole = contents()

async function world() {
  const device = new SimulatedDevice()
  device.putFile('file', whole)
  const directory = await new SimulatedDisk(device).openDirectory('/')
  const file = await directory.open('file', 'read', 0)
  const reads: { from: number; to: number }[] = []
  device.interference = ({ kind, position, length }) => {
    if (kind === 'read') reads.push({ from: position, to: position + length })
    return undefined
  }
  let held = 0
  const hold: Hold = async read => {
    held++
    await read().finally(() => held--)
  }
  return { device, file, reads, hold, held: () => held }
}

/** Goes through the file as a scan does, in steps of so many bytes. */
async function walk(
  t: { ok(is: boolean, name: string): unknown },
  window: Window,
  file: DiskFile,
  step: number,
  hold: Hold,
  limit = FILE_BYTES,
): Promise<void> {
  for (let at = 0; at < limit; at += step) {
    const bytes = await window.load(file, at, step, limit, hold)
    const want = Math.min(step, limit - at)
    if (bytes.length >= want && isRight(bytes, at)) continue
    t.ok(false, `${bytes.length} bytes at ${at}`)
    return
  }
  t.ok(true, `all in steps of ${step}`)
}

for (const step of [A, 3 * A, 64 * 1024, MIB - A, MIB + A]) {
  t.test(`in steps of ${step}`, async t => {
    const { file, reads, hold, held } = await world()
    const window = new Window(A)
    await walk(t, window, file, step, hold)
    t.equal(held(), 0, 'nothing is read beyond the end')
    const inOrder = reads.every(({ from }, i) => i === 0 || from > reads[i - 1].from)
    t.ok(inOrder, 'no read goes back')
    // What is read ahead begins where the read before ends: of a group across, nothing is read again.
    const again = reads.slice(2).filter(({ from }, i) => from < reads[i + 1].to)
    t.same(again, [])
    window.release()
  })
}

t.test('the beginning alone is not read ahead, nor is it without a hold', async t => {
  const { file, reads, hold } = await world()
  await new Window(A).load(file, 0, A, FILE_BYTES, hold)
  t.equal(reads.length, 1)
  const window = new Window(A)
  for (const at of [0, WINDOW_BYTES, 2 * WINDOW_BYTES]) await window.load(file, at, A, FILE_BYTES)
  t.equal(reads.length, 4)
})

t.test('a limit that grows, and places out of order, are met by reads of their own', async t => {
  const { file, hold } = await world()
  const window = new Window(A)
  const limits = [3 * MIB, 3 * MIB + A, 5 * MIB, FILE_BYTES]
  let at = 0
  for (const limit of limits) {
    for (; at + 5 * A <= limit; at += 5 * A) {
      const bytes = await window.load(file, at, 5 * A, limit, hold)
      t.ok(bytes.length >= 5 * A && bytes.length <= limit - at && isRight(bytes, at), `at ${at}`)
    }
  }
  for (const place of [4 * MIB, 2 * MIB, 0, 8 * MIB, A]) {
    const bytes = await window.load(file, place, 2 * MIB, FILE_BYTES, hold)
    t.ok(isRight(bytes, place) && bytes.length >= Math.min(2 * MIB, FILE_BYTES - place))
  }
})

t.test('what fails ahead is read again when it is asked for, and told then', async t => {
  const { device, file, hold } = await world()
  const window = new Window(A)
  let failures = 1
  let reads = 0
  device.interference = ({ kind }) => {
    if (kind === 'read' && ++reads > 2 && failures-- > 0) return ioError('read')
    return undefined
  }
  await walk(t, window, file, 256 * 1024, hold)
  t.ok(failures <= 0, 'one has failed')

  failures = 10
  reads = 0
  const again = new Window(A)
  await t.rejects(walk(t, again, file, 256 * 1024, hold), { code: 'ERR_RIOLOG_SYSTEM' })
  device.interference = undefined
  await walk(t, again, file, 256 * 1024, hold)
})

t.test('given up with a read under way: nobody is lent what it still writes to', async t => {
  const { file, hold, held } = await world()
  let finish: (() => void) | undefined
  const late = but(file, {
    async read(buffer, offset, length, position) {
      if (position < 2 * WINDOW_BYTES || finish !== undefined) {
        return file.read(buffer, offset, length, position)
      }
      await new Promise<void>(resolve => (finish = resolve))
      buffer.bytes.fill(0xee, offset, offset + length)
      return length
    },
  })
  const window = new Window(A)
  await window.load(late, 0, A, FILE_BYTES, hold)
  await window.load(late, WINDOW_BYTES, A, FILE_BYTES, hold)
  t.equal(held(), 1, 'one is under way, and held')
  window.forget()
  // Read ahead anew, and then the old one lands.
  await window.load(late, 0, A, FILE_BYTES, hold)
  await window.load(late, WINDOW_BYTES, A, FILE_BYTES, hold)
  while (held() > 1) await new Promise(resolve => setImmediate(resolve))
  finish?.()
  while (held() > 0) await new Promise(resolve => setImmediate(resolve))
  for (let at = WINDOW_BYTES; at + MIB / 4 <= FILE_BYTES; at += MIB / 4) {
    t.ok(isRight(await window.load(late, at, MIB / 4, FILE_BYTES, hold), at), `at ${at}`)
  }
  window.release()
})
