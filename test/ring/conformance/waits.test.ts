/** Ways to wait: batches, waitSync, isDone, deadlines and signals; and what a ring measures. */
import { writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type Completion, IoBuffer, type Ring } from '../../../src/ring/index.ts'
import { codeOf, Fifo, openRing, temporaryFile, withRing } from '../support.ts'
import { BAD_FD, CANCELED, contentOf, EBADF, failing, INVALID, notHanging } from './support.ts'

withRing(t, 'batch: results in order, failures among them, buffers given back', async t => {
  const ring = openRing(t, { depth: 4 })
  const fd = temporaryFile(t)
  writeSync(fd, '0123456789')
  const buffers = Array.from({ length: 20 }, () => IoBuffer.alloc(4))
  const arrays = Array.from({ length: 20 }, () => new Uint8Array(2))
  const batch = ring.batch()
  for (let i = 0; i < 20; i++) {
    batch.readAt(i % 5 === 4 ? BAD_FD : fd, buffers[i], i)
    batch.readAt(fd, arrays[i], i)
  }
  t.equal(batch.length, 40)
  const running = batch.submit()
  t.ok(buffers.every(buffer => buffer.lent))
  const results = [...(await running)]
  for (let i = 0; i < 20; i++) {
    const left = Math.max(0, 10 - i)
    t.equal(results[2 * i], i % 5 === 4 ? EBADF : Math.min(4, left))
    t.equal(results[2 * i + 1], Math.min(2, left))
    if (i < 9) t.equal(Buffer.from(arrays[i]).toString(), `${i}${i + 1}`)
  }
  t.ok(buffers.every(buffer => !buffer.lent))
  t.equal(await codeOf(() => batch.submit()), INVALID, 'one with arrays only once')
})

withRing(t, 'batch: again and again; not while it runs, and not when it is empty', async t => {
  const ring = openRing(t, { depth: 4 })
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(2)
  const batch = ring.batch().writeAt(fd, buffer, 0).nop().fdatasync(fd)
  for (const text of ['ab', 'cd', 'ef']) {
    buffer.bytes.set(Buffer.from(text))
    const running = batch.submit()
    t.equal(await codeOf(() => batch.submit()), INVALID)
    t.equal(await codeOf(() => batch.nop()), INVALID)
    t.same([...(await running)], [2, 0, 0])
    t.equal(contentOf(fd), text)
  }
  t.equal(await codeOf(() => ring.batch().submit()), INVALID)
  const untyped = ring.batch() as unknown as {
    openat(path: string): void
    statx(path: string): void
  }
  t.equal(await codeOf(() => untyped.openat('/dev/null')), INVALID)
  t.equal(await codeOf(() => untyped.statx('/dev/null')), INVALID)
})

// A refused batch may be submitted when what refused it is over: with the bytes it was made with.
withRing(t, 'batch: one that was refused writes nothing but its own bytes later', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const [mine, other] = [temporaryFile(t), temporaryFile(t)]
  const lent = IoBuffer.alloc(1)
  const batch = ring.batch().writeAt(mine, Buffer.from('AAAA'), 0).readAt(fifo.fd, lent, 0)
  const reading = ring.readAt(fifo.fd, lent, 0)
  t.equal(await codeOf(() => batch.submit()), 'ERR_RIOLOG_BUFFER_LENT')
  fifo.put('x')
  await reading
  const writing = ring.writeAt(other, Buffer.from('BBBB'), 0)
  fifo.put('x')
  await codeOf(() => batch.submit()) // refused again, or done: never with another's bytes
  await writing
  t.ok(['', 'AAAA'].includes(contentOf(mine)), `it wrote ${contentOf(mine)}`)
  t.equal(contentOf(other), 'BBBB')
})

withRing(t, 'batch: deadlines and a signal of all', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const batch = ring.batch().readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 }).nop()
  t.same([...(await notHanging(batch.submit(), 'the batch'))], [-125, 0])
  const aborting = new AbortController()
  const buffer = IoBuffer.alloc(1)
  const running = ring.batch().readAt(fifo.fd, buffer, 0).nop().submit({ signal: aborting.signal })
  await delay(5)
  t.equal(running.isDone, false)
  aborting.abort()
  t.same([...(await notHanging(running, 'the batch'))], [-125, 0])
  t.equal(buffer.lent, false)
  t.equal(await codeOf(() => ring.batch().nop().submit({ signal: aborting.signal })), CANCELED)
})

withRing(t, 'waitSync: the value or the error, without a turn of the loop', async t => {
  const ring = openRing(t, { depth: 4 })
  const fd = temporaryFile(t)
  let turns = 0
  const counting = setInterval(() => turns++, 0)
  t.equal(ring.writeAt(fd, Buffer.from('abc'), 0).waitSync(), 3)
  t.equal(contentOf(fd), 'abc')
  t.same(ring.chain().writeAt(fd, Buffer.from('d'), 3).fsync(fd).submit().waitSync(), [
    1,
    undefined,
  ])
  t.same([...ring.batch().nop().fsync(BAD_FD).submit().waitSync()], [0, EBADF])
  t.throws(() => ring.fsync(BAD_FD).waitSync(), failing('EBADF'))
  t.throws(() => ring.chain().nop().fsync(BAD_FD).submit().waitSync(), {
    code: 'ERR_RIOLOG_CHAIN_BROKEN',
    index: 1,
  })
  const many = Array.from({ length: 50 }, (_, i) => ring.writeAt(fd, Buffer.from([i]), i))
  t.equal(many[49].waitSync(), 1, 'many more than the queue holds before it')
  t.equal(turns, 0)
  clearInterval(counting)
  t.equal((await Promise.all(many)).length, 50)
  const done = ring.nop()
  await done
  t.equal(done.waitSync(), undefined, 'of one that is done already')
})

withRing(
  t,
  'waitSync: others complete meanwhile, and are told when the thread is free',
  async t => {
    const ring = openRing(t, { depth: 4, cqDepth: 8 })
    const fifo = new Fifo(t)
    const told: string[] = []
    const others = Array.from({ length: 20 }, (_, i) => ring.nop().then(() => told.push(`nop${i}`)))
    const stuck = ring.readAt(fifo.fd, new Uint8Array(1), 0)
    ring.timeout(2).waitSync()
    t.same(told, [], 'nobody runs while the thread is held up')
    t.equal(stuck.isDone, false)
    await Promise.all(others)
    t.equal(told.length, 20)
    fifo.put('x')
    t.equal(stuck.waitSync(), 1)
  },
)

withRing(t, 'waitSync: timeoutMs gives up waiting, and leaves the operation alone', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(1)
  const reading = ring.readAt(fifo.fd, buffer, 0)
  t.throws(() => reading.waitSync({ timeoutMs: 5 }), { code: 'ERR_RIOLOG_TIMEOUT' })
  t.equal(reading.isDone, false)
  t.equal(buffer.lent, true)
  for (const timeoutMs of [0, -1, Number.NaN, '5']) {
    t.throws(() => reading.waitSync({ timeoutMs: timeoutMs as number }), { code: INVALID })
  }
  fifo.put('x')
  t.equal(reading.waitSync({ timeoutMs: 10_000 }), 1)
  t.equal(reading.isDone, true)
  t.equal(await reading, 1)
})

withRing(t, 'isDone: false in flight, true before its reactions run', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0)
  t.equal(reading.isDone, false)
  await ring.nop()
  t.equal(reading.isDone, false)
  let reacted = false
  reading.then(() => {
    reacted = true
  })
  fifo.put('x')
  reading.waitSync()
  t.equal(reading.isDone, true)
  t.equal(reacted, false)
  await reading
  const failed = ring.fsync(BAD_FD)
  await failed.catch(() => {})
  t.equal(failed.isDone, true)
  t.equal(failed instanceof Promise, true)
})

/** Every kind of operation that can last, and how it is asked for. */
const lasting: readonly (readonly [
  string,
  (ring: Ring, fifo: Fifo, options: { deadlineMs?: number; signal?: AbortSignal }) => unknown,
])[] = [
  ['a read', (ring, fifo, options) => ring.readAt(fifo.fd, new Uint8Array(1), 0, options)],
  ['a vector', (ring, fifo, options) => ring.readv(fifo.fd, [new Uint8Array(1)], 0, options)],
  ['a poll', (ring, fifo, options) => ring.poll(fifo.fd, 1, options)],
  ['a timer', (ring, _, options) => ring.timeout(600_000, options)],
  [
    'an async read',
    (ring, fifo, options) =>
      ring.readAt(fifo.fd, new Uint8Array(1), 0, { ...options, async: true }),
  ],
]

for (const [what, ask] of lasting) {
  withRing(t, `deadline, signal and cancel of ${what}: during, after, and before`, async t => {
    const ring = openRing(t)
    const fifo = new Fifo(t)
    const outcome = (options: object) =>
      notHanging(ask(ring, fifo, options) as Completion<unknown>, what)
    await t.rejects(outcome({ deadlineMs: 5 }), {
      code: 'ERR_RIOLOG_TIMEOUT',
      errnoName: 'ECANCELED',
    })
    const reason = new Error('enough')
    const aborting = new AbortController()
    setTimeout(() => aborting.abort(reason), 5)
    await t.rejects(outcome({ signal: aborting.signal }), { code: CANCELED, cause: reason })
    await t.rejects(async () => outcome({ signal: aborting.signal }), {
      code: CANCELED,
      cause: reason,
    })
    const both = new AbortController()
    setTimeout(() => both.abort(reason), 5)
    const slow = outcome({ signal: both.signal, deadlineMs: 60_000 })
    await t.rejects(slow, { code: CANCELED, cause: reason })
    const cancelled = ask(ring, fifo, {}) as Completion<unknown>
    cancelled.cancel()
    await t.rejects(notHanging(cancelled, what), { code: CANCELED })
    t.equal(ring.inFlight, 0)
  })
}

withRing(t, 'a signal that aborts when all is done changes nothing, and is let go', async t => {
  const ring = openRing(t)
  const aborting = new AbortController()
  const { signal } = aborting
  const listeners: unknown[] = []
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = ((type: 'abort', listener: () => void, options: object) => {
    listeners.push(listener)
    add(type, listener, options)
  }) as typeof add
  signal.removeEventListener = ((type: 'abort', listener: () => void) => {
    listeners.splice(listeners.indexOf(listener), 1)
    remove(type, listener)
  }) as typeof remove
  for (let i = 0; i < 10; i++) await ring.nop({ signal })
  await codeOf(() => ring.fsync(BAD_FD, { signal }))
  await ring.chain().nop().nop().submit({ signal })
  await ring.batch().nop().submit({ signal })
  t.equal(listeners.length, 0, 'none listens any more')
  const done = ring.nop({ signal })
  await done
  aborting.abort()
  t.equal(await done, undefined)
  t.equal(await codeOf(() => ring.nop({ signal: {} as AbortSignal })), INVALID)
})

withRing(t, 'profile: counts and histograms move, and only where they were asked for', async t => {
  t.equal(openRing(t).profile(), undefined)
  const ring = openRing(t, { depth: 16, profile: true })
  const fd = temporaryFile(t)
  const before = ring.profile()
  t.same(Object.keys(before?.operations ?? { none: 0 }), [])
  await Promise.all(Array.from({ length: 10 }, () => ring.nop()))
  await ring.chain().writeAt(fd, Buffer.from('x'), 0).fdatasync(fd).submit()
  await ring.timeout(5)
  const { submit, wait, batch, inFlight, operations } = ring.profile()!
  t.equal(operations.nop.count, 10)
  t.equal(operations.write.count, 1)
  t.equal(operations.fsync.count, 1)
  t.equal(operations.timeout.count, 1)
  t.ok(operations.timeout.min >= 5e6, 'nanoseconds, and not fewer than it lasted')
  t.equal(batch.max, 10, 'one turn is one submission')
  t.equal(submit.count, 3)
  t.equal(wait.count, 13)
  t.ok(inFlight.max >= 10)
  await ring.nop()
  t.equal(ring.profile()?.operations.nop.count, 11)
})
