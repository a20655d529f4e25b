/** What a simulated disk does by itself: its time, its failing syncs, what a power cut leaves open. */
import t from 'tap'
import { enumerate, imageOf } from '../../src/crash/image.ts'
import { Random } from '../../src/crash/random.ts'
import { allocateBuffer } from '../../src/disk/buffer.ts'
import type { DiskFile } from '../../src/disk/disk.ts'
import { type Fate, SimulatedDevice, SimulatedDisk, VirtualTime } from '../../src/disk/simulated.ts'

const BLOCK = 4096

function filled(byte: number, blocks = 1) {
  const buffer = allocateBuffer(blocks * BLOCK)
  buffer.bytes.fill(byte)
  return buffer
}

/** Runs on a time of its own until all is done. */
async function driven<T>(
  device: SimulatedDevice,
  run: (disk: SimulatedDisk, time: VirtualTime) => Promise<T>,
  seed = 1,
): Promise<{ result: T; time: VirtualTime }> {
  const time = new VirtualTime(new Random(seed))
  const disk = new SimulatedDisk(device, { scheduler: time })
  let settled: { result: T } | { error: unknown } | undefined
  run(disk, time).then(
    result => (settled = { result }),
    error => (settled = { error }),
  )
  await time.drive(() => settled !== undefined)
  if (settled === undefined) throw new Error('it never ended')
  if ('error' in settled) throw settled.error
  return { result: settled.result, time }
}

const withFile = (run: (file: DiskFile) => Promise<void>) => async (disk: SimulatedDisk) => {
  const directory = await disk.openDirectory('d')
  await run(await directory.open('a', 'create', 0o600))
}

t.test('time passes only as far as somebody waits, and at once', async t => {
  const from = performance.now()
  const { result, time } = await driven(new SimulatedDevice(), async (_, time) => {
    const order: string[] = []
    time.setTimer(() => order.push('late'), 90_000)
    time.setTimer(() => order.push('early'), 30_000)
    time.setTimer(() => order.push('cleared'), 40_000).clear()
    await time.sleep(100_000)
    return order
  })
  t.same(result, ['early', 'late'])
  t.equal(time.now(), 100_000)
  t.ok(performance.now() - from < 20_000, 'not by the clock on the wall')
})

t.test('operations beside each other take place in an order that the seed chooses', async t => {
  const orders = new Set<string>()
  for (let seed = 0; seed < 200; seed++) {
    const order: number[] = []
    const write = withFile(async file => {
      const one = (i: number) =>
        file.write(filled(i), 0, BLOCK, i * BLOCK).then(() => order.push(i))
      await Promise.all([0, 1, 2].map(one))
    })
    await driven(new SimulatedDevice(), write, seed)
    orders.add(order.join(''))
  }
  t.equal(orders.size, 6, 'every order of three')
})

t.test('a sync makes durable what was written when it was asked for', async t => {
  const device = new SimulatedDevice()
  await driven(
    device,
    withFile(async file => {
      await file.write(filled(1), 0, BLOCK, 0)
      await file.sync()
      await file.write(filled(2), 0, BLOCK, BLOCK)
    }),
  )
  device.syncNames()
  const old = device.left(
    device.unsynced(4096),
    () => 'old',
    () => 0,
  )
  t.equal(old.bytesOf('a').length, BLOCK)
  t.equal(old.bytesOf('a')[0], 1)
})

for (const [fate, durable, visible] of [
  ['reached', 2, 2],
  ['dropped', 1, 1],
  ['kept', 1, 2],
] as const) {
  t.test(`a failed sync leaves a block ${fate}, and the next one comes back good`, async t => {
    const device = new SimulatedDevice()
    device.failedSync = () => fate
    let syncs = 0
    device.interference = ({ kind }) =>
      kind === 'sync' && ++syncs === 2 ? new Error('EIO') : undefined
    let again: SimulatedDevice | undefined
    await driven(
      device,
      withFile(async file => {
        await file.write(filled(1), 0, BLOCK, 0)
        await file.sync()
        await file.write(filled(2), 0, BLOCK, 0)
        await t.rejects(file.sync())
        again = device.snapshot()
        await file.sync()
      }),
    )
    again!.syncNames()
    t.equal(again!.bytesOf('a')[0], visible)
    t.equal(
      again!
        .left(
          again!.unsynced(4096),
          () => 'old',
          () => 0,
        )
        .bytesOf('a')[0],
      durable,
    )
  })
}

t.test('a device and its image share nothing that changes', async t => {
  const device = new SimulatedDevice()
  device.putFile('a', new Uint8Array(3 * BLOCK).fill(1))
  const snapshot = device.snapshot()
  device.write(device.open('a', 'write'), new Uint8Array(BLOCK).fill(2), 0)
  t.equal(snapshot.bytesOf('a')[0], 1)
  t.equal(device.bytesOf('a')[0], 2)
  const image = device.left(
    device.unsynced(512),
    () => 'new',
    () => 0,
  )
  image.write(image.open('a', 'write'), new Uint8Array(BLOCK).fill(3), BLOCK)
  t.equal(device.bytesOf('a')[BLOCK], 1)
})

t.test('a rename is lost, done, or half done', t => {
  const states = new Map<Fate, string[]>([
    ['old', ['a']],
    ['new', ['b']],
    ['both', ['a', 'b']],
  ])
  for (const [fate, names] of states) {
    const device = new SimulatedDevice()
    device.putFile('a', new Uint8Array(BLOCK))
    device.rename('a', 'b')
    const left = device.left(
      device.unsynced(512),
      () => fate,
      () => 0,
    )
    t.same(left.names(), names)
    t.equal(left.linksOf(left.lookUp(names[0])!), names.length)
  }
  t.end()
})

t.test('a file that was written twice can be left between the two', t => {
  const device = new SimulatedDevice()
  device.putFile('a', new Uint8Array(BLOCK).fill(1))
  for (const byte of [2, 3])
    device.write(device.open('a', 'write'), new Uint8Array(BLOCK).fill(byte), 0)
  const left = (fate: Fate) =>
    device
      .left(
        device.unsynced(4096),
        () => fate,
        () => 9,
      )
      .bytesOf('a')[0]
  t.same(
    [left('old'), left('between'), left('new'), left('zeros'), left('garbage')],
    [1, 2, 3, 0, 9],
  )
  t.end()
})

t.test('what a file had that is gone can be found in another', t => {
  const device = new SimulatedDevice()
  device.putFile('gone', new Uint8Array(BLOCK).fill(7))
  device.putFile('a', new Uint8Array(BLOCK))
  device.unlink('gone')
  device.syncNames()
  device.write(device.open('a', 'write'), new Uint8Array(BLOCK).fill(1), 0)
  t.equal(
    device
      .left(
        device.unsynced(4096),
        () => 'stale',
        () => 0,
      )
      .bytesOf('a')[5],
    7,
  )
  t.end()
})

for (const sectorBytes of [512, 4096] as const) {
  t.test(`every subset of few units is taken, each once (${sectorBytes})`, t => {
    const device = new SimulatedDevice()
    const units = 5
    device.putFile('a', new Uint8Array(units * sectorBytes))
    const written = Uint8Array.from({ length: units * sectorBytes }, () => 1)
    device.write(device.open('a', 'write'), written, 0)
    const all = enumerate(device, sectorBytes, 12, 0, new Random(1))
    t.equal(all.units, units)
    t.ok(all.isComplete)
    const states = new Set(all.images.map(image => String(imageOf(device, image).bytesOf('a'))))
    t.equal(all.images.length, 2 ** units)
    t.equal(states.size, 2 ** units)
    const some = enumerate(device, sectorBytes, units - 1, 3, new Random(1))
    t.notOk(some.isComplete)
    const [none, every, onlyLast, allButFirst] = some.images.map(image =>
      image.kind === 'power' ? image.fates : '',
    )
    t.same([none, every, onlyLast, allButFirst], ['ooooo', 'nnnnn', 'oooon', 'onnnn'])
    t.end()
  })
}

t.test('a sector that was written as it was makes no difference', t => {
  const device = new SimulatedDevice()
  device.putFile('a', new Uint8Array(BLOCK).fill(1))
  const bytes = new Uint8Array(BLOCK).fill(1)
  bytes[1000] = 2
  device.write(device.open('a', 'write'), bytes, 0)
  t.equal(enumerate(device, 512, 12, 0, new Random(1)).images.length, 2)
  t.end()
})
