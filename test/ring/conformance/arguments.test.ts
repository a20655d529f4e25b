/** What is no argument is refused by name before anything is queued, also what only looks like one. */
import t from 'tap'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'
import { openRing, temporaryFile, withRing } from '../support.ts'
import { INVALID } from './support.ts'

/** As JavaScript calls it, which knows no types. */
type Untyped = Record<string, (...args: unknown[]) => unknown>

withRing(t, 'names that every object has are no names of ours', async t => {
  const ring = openRing(t)
  const untyped = ring as unknown as Untyped
  const fd = temporaryFile(t)
  const socket = ring.datagram({ on: { address: '127.0.0.1', port: 0 } })
  const options = socket as unknown as Untyped
  for (const name of ['constructor', 'toString', '__proto__', '', 7, null, Symbol('name')]) {
    t.throws(() => untyped.fadvise(fd, 0, 0, name), { code: INVALID })
    t.throws(() => untyped.madvise(IoBuffer.alloc(1), name), { code: INVALID })
    t.throws(() => untyped.shutdown(fd, name), { code: INVALID })
    t.throws(() => untyped.socket(name, 'stream'), { code: INVALID })
    t.throws(() => untyped.socket('IPv4', name), { code: INVALID })
    t.throws(() => options.setOption(name, 1), { code: INVALID })
    t.throws(() => options.getOption(name), { code: INVALID })
  }
  t.throws(() => untyped.socket('IPv4', 'raw'), { code: INVALID })
  t.throws(() => options.setOption('reuseAddress', 'yes'), { code: INVALID })
  t.throws(() => options.setOption('reuseAddress', 0.5), { code: INVALID })
  t.equal(ring.inFlight, 0)
  await socket.close()
})

withRing(t, 'what is nothing at all is refused with a code', async t => {
  const ring = openRing(t)
  const untyped = ring as unknown as Untyped
  for (const nothing of [null, 7, Symbol('nothing')]) {
    t.throws(() => (Ring as unknown as Untyped).open(nothing), { code: INVALID })
    t.throws(() => untyped.listen(nothing), { code: INVALID })
    t.throws(() => untyped.datagram(nothing), { code: INVALID })
    t.throws(() => untyped.nop(nothing), { code: INVALID })
    t.throws(() => untyped.recvAll(0, nothing), { code: INVALID })
    t.throws(() => untyped.unregisterBuffer(nothing), { code: INVALID })
    t.throws(() => untyped.registerBuffer(nothing), { code: INVALID })
    t.throws(() => untyped.cancelMatching(nothing), { code: INVALID })
    await t.rejects(untyped.close(nothing) as Promise<unknown>, { code: INVALID })
  }
  t.throws(() => untyped.registerFile(null), { code: INVALID })
  t.throws(() => untyped.acceptAll(0, { signal: {} }), { code: INVALID })
  t.equal(ring.inFlight, 0)
})
