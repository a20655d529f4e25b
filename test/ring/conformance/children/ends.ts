/** Works, across turns of the event loop, and leaves the ring open with nothing in flight. */
import { Ring } from '../../../../src/ring/index.ts'

const ring = Ring.open({ depth: 4 })
// Kept: a ring that was collected would let the process end, too.
Object.assign(globalThis, { ring })
await ring.timeout(5)
await ring.chain().timeout(5).nop().submit()
const inbox = ring.messages()
const stop = new AbortController()
const waiting = ring.messages({ signal: stop.signal }).next()
setTimeout(() => stop.abort(), 5)
await waiting.catch(() => {})
await inbox.return?.()
console.log(ring.inFlight)
