/** What the ring does when the kernel cannot take requests now (EAGAIN, EBUSY). */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openRing, temporaryFile, withRing } from './support.ts'

const EAGAIN = 11
const EBUSY = 16

const wrapper = fileURLToPath(new URL('./refusing-addon.cjs', import.meta.url))

// Before the addon is used for the first time, which loads it.
if (process.env.RIOLOG_ADDON !== undefined) {
  process.env.RIOLOG_REAL_ADDON = process.env.RIOLOG_ADDON
}
process.env.RIOLOG_ADDON = wrapper

const refusals = (): number[] => createRequire(import.meta.url)(wrapper).refusals

for (const errnos of [[EAGAIN], [EBUSY], [EAGAIN, EBUSY, EAGAIN, EAGAIN]]) {
  withRing(t, `refused with ${errnos}, nothing is lost and nothing done twice`, async t => {
    const ring = openRing(t, { depth: 4, cqDepth: 8 })
    const fd = temporaryFile(t)
    refusals().push(...errnos)
    // More than the queue takes at once, and chains that must keep together.
    const all = Array.from({ length: 20 }, (_, i) =>
      ring
        .chain()
        .writeAt(fd, Buffer.from([i]), i)
        .fdatasync(fd)
        .submit(),
    )
    for (const results of await Promise.all(all)) t.same(results, [1, undefined])
    t.equal(ring.inFlight, 0)
    t.equal(refusals().length, 0, 'each refusal was met')
    const found = new Uint8Array(100)
    t.equal(await ring.readAt(fd, found, 0), 20)
    t.same([...found.subarray(0, 20)], [...Array(20).keys()])
  })
}

withRing(t, 'close waits for what the kernel has refused so far', async t => {
  const ring = openRing(t)
  refusals().push(EAGAIN, EAGAIN)
  const settled = ring.nop()
  await ring.close()
  t.equal(await settled, undefined)
  t.equal(refusals().length, 0)
})
