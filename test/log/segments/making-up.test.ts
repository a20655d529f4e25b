/** Zeros that large groups outran are written once nobody streams, and stand in nobody's way. */
import t from 'tap'
import type { DiskBuffer, DiskFile } from '../../../src/disk/disk.ts'
import { SystemError } from '../../../src/errors.ts'
import { SegmentSupply, type SupplyParts } from '../../../src/log/segments/segment-supply.ts'
import { KIB } from '../../support/simulated.ts'

const MIB = 1024 * KIB
const [EIO, ENOSPC] = [-5, -28]
const HEADER_BYTES = 4 * KIB
/** Where the zeros ended that were written when the file was made. */
const WRITTEN = MIB + HEADER_BYTES
const FILE_BYTES = 2 * MIB

const turn = () => new Promise(setImmediate)

/** A supply whose segment was outrun; writes into its file end when they are told to. */
class Outrun {
  isStreaming = false
  isCommitting = false
  isAwaited = false
  roomLeft = 64 * MIB
  offered = 0
  readonly failures: unknown[] = []
  readonly pauses: number[] = []
  readonly written: [from: number, to: number][] = []
  syncs = 0
  answers = 0
  closed = false
  #settle: ((error?: Error) => void) | undefined
  readonly #supply: SegmentSupply

  constructor(writtenBytes = WRITTEN) {
    const ends = () =>
      new Promise<void>((resolve, reject) => {
        if (this.#settle !== undefined) throw new Error('two at a time')
        this.#settle = error => (error === undefined ? resolve() : reject(error))
      })
    const file: Partial<DiskFile> = {
      write: (buffer: DiskBuffer, offset: number, length: number, position: number) => {
        const bytes = buffer.bytes.subarray(offset, offset + length)
        if (bytes.some(byte => byte !== 0)) throw new Error('no zeros')
        this.written.push([position, position + length])
        return ends()
      },
      sync: () => {
        this.syncs++
        return ends()
      },
      close: () => {
        if (this.#settle !== undefined) throw new Error('closed beside a write')
        this.closed = true
      },
    }
    const prepared = { header: { number: 7, fileBytes: FILE_BYTES }, file, writtenBytes }
    const parts: Partial<SupplyParts> = {
      maker: { prepare: async () => prepared } as unknown as SupplyParts['maker'],
      manifest: { current: { segmentSize: 64 * MIB, alignment: HEADER_BYTES } } as never,
      batchBytes: 0,
      durableLsn: () => 0,
      isAwaited: () => this.isAwaited,
      isStreaming: () => this.isStreaming,
      isCommitting: () => this.isCommitting,
      roomLeft: () => this.roomLeft,
      pause: async milliseconds => {
        this.pauses.push(milliseconds)
        await turn()
      },
      onReady: () => this.offered++,
      onFailed: error => this.failures.push(error),
      onAnswered: () => this.answers++,
    }
    this.#supply = new SegmentSupply(parts as SupplyParts)
  }

  async open(): Promise<SegmentSupply> {
    this.#supply.request({} as never)
    await turn()
    return this.#supply
  }

  get isBusy(): boolean {
    return this.#settle !== undefined
  }

  async begins(): Promise<void> {
    for (let i = 0; i < 20 && !this.isBusy; i++) await turn()
    if (!this.isBusy) throw new Error('nothing is under way')
  }

  /** Nothing begins of its own accord. */
  async rests(): Promise<void> {
    for (let i = 0; i < 20; i++) {
      if (this.isBusy) throw new Error('something is under way')
      await turn()
    }
  }

  /** What is under way ends. */
  async ends(error?: Error): Promise<void> {
    const settle = this.#settle!
    this.#settle = undefined
    settle(error)
    await Promise.resolve()
  }
}

t.test('piece by piece, up to the end of the file, and then synced', async t => {
  const outrun = new Outrun()
  const supply = await outrun.open()
  let at = WRITTEN
  while (at < FILE_BYTES) {
    await outrun.begins()
    const [from, to] = outrun.written.at(-1)!
    t.equal(from, at)
    t.ok(to - from <= 256 * KIB, 'commits do not wait for long')
    t.notOk(supply.isReady, 'nobody takes it meanwhile')
    t.throws(() => supply.take())
    t.equal(supply.readyFileBytes, 0, 'no batch is laid out into it')
    at = to
    await outrun.ends()
  }
  t.equal(at, FILE_BYTES)
  await outrun.begins()
  t.equal(outrun.syncs, 1)
  t.notOk(supply.isReady)
  await outrun.ends()
  await outrun.rests()
  t.ok(supply.isReady)
  t.equal(supply.readyFileBytes, FILE_BYTES)
  t.ok(outrun.pauses.length >= outrun.written.length, 'with a pause before each')
  t.equal(outrun.answers, outrun.written.length + outrun.syncs)
  t.equal(supply.take().header.number, 7)
})

t.test('nothing is written where nothing was outrun', async t => {
  const outrun = new Outrun(FILE_BYTES)
  const supply = await outrun.open()
  await outrun.rests()
  t.ok(supply.isReady)
  t.equal(outrun.pauses.length, 0)
})

t.test('not while large groups run full and are with the disk', async t => {
  const outrun = new Outrun()
  Object.assign(outrun, { isStreaming: true, isCommitting: true })
  const supply = await outrun.open()
  t.teardown(() => supply.stop())
  await outrun.rests()
  t.ok(supply.isReady)
  const last = outrun.pauses.at(-1)!
  outrun.isCommitting = false
  await outrun.begins()
  await outrun.ends()
  await outrun.begins()
  t.ok(last > outrun.pauses.at(-1)!, 'it asks more seldom while they do')
  outrun.isCommitting = true
  await outrun.ends()
  await outrun.rests()
})

t.test('and not where it may be taken soon', async t => {
  const outrun = new Outrun()
  await outrun.open()
  await outrun.begins()
  outrun.roomLeft = MIB
  await outrun.ends()
  const pauses = outrun.pauses.length
  await outrun.rests()
  t.ok(outrun.pauses.length <= pauses + 1, 'it is given up: an idle log is not woken up')
})

t.test('whoever asked for room meanwhile is told', async t => {
  const outrun = new Outrun()
  await outrun.open()
  await outrun.begins()
  const { offered } = outrun
  outrun.isAwaited = true
  await outrun.ends()
  await turn()
  t.equal(outrun.offered, offered + 1)
})

t.test('a segment that was taken is its writer’s', async t => {
  const outrun = new Outrun()
  const supply = await outrun.open()
  await outrun.begins()
  await outrun.ends()
  await Promise.resolve()
  supply.take()
  await outrun.rests()
  t.equal(outrun.written.length, 1)
})

for (const [how, end] of Object.entries({
  'a rewind': (supply: SegmentSupply) => supply.prepareFork({} as never),
  'a close': (supply: SegmentSupply) => supply.close(),
})) {
  t.test(`${how} waits for the piece that is under way, and no other begins`, async t => {
    const outrun = new Outrun()
    const supply = await outrun.open()
    supply.nameFromNowOn()
    await outrun.begins()
    let ended = false
    const ending = end(supply).then(() => {
      ended = true
    })
    await turn()
    t.notOk(ended)
    await outrun.ends()
    await ending
    await outrun.rests()
    t.equal(outrun.written.length, 1)
    t.equal(outrun.closed, how === 'a close')
  })
}

t.test('after a poison nothing is written', async t => {
  const outrun = new Outrun()
  const supply = await outrun.open()
  await outrun.begins()
  supply.stop({ poisoned: true })
  await outrun.ends()
  await outrun.rests()
  t.equal(outrun.written.length, 1)
})

t.test('no space for zeros: the segment is as good as before', async t => {
  const outrun = new Outrun()
  const supply = await outrun.open()
  await outrun.begins()
  await outrun.ends(
    Object.assign(new SystemError(ENOSPC, 'write'), { code: 'ERR_RIOLOG_NO_SPACE' }),
  )
  await outrun.rests()
  t.same(outrun.failures, [])
  t.ok(supply.isReady)
})

t.test('any other failure leaves what the disk holds in doubt', async t => {
  for (const of of ['a write', 'the sync']) {
    const outrun = new Outrun()
    await outrun.open()
    await outrun.begins()
    while (of === 'the sync' && outrun.syncs === 0) {
      await outrun.ends()
      await outrun.begins()
    }
    const error = new SystemError(EIO, 'write')
    await outrun.ends(error)
    await turn()
    t.same(outrun.failures, [error], of)
    await outrun.rests()
  }
})
