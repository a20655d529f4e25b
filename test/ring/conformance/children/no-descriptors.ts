/** Takes all descriptors that there may be; then what needs one is refused, and goes on later. */
import { closeSync, openSync } from 'node:fs'
import { createConnection } from 'node:net'
import { type InternetAddress, Ring, type SystemError } from '../../../../src/ring/index.ts'

const ring = Ring.open({ depth: 8 })
const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
const client = createConnection((listening.address() as InternetAddress).port, '127.0.0.1')
await new Promise(resolve => client.once('connect', resolve))

const taken: number[] = []
const takeAll = () => {
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'))
  } catch {}
}
takeAll()
let ringCode: string | undefined
try {
  Ring.open({ depth: 4 })
} catch (error) {
  ringCode = (error as { code: string }).code
}
const nameOf = (completion: PromiseLike<unknown>) =>
  completion.then(
    () => 'opened',
    (error: SystemError) => error.errnoName,
  )
// What has loaded this file may give back a descriptor of its own meanwhile: the open takes that one.
let open = await nameOf(ring.openat('/dev/null'))
for (let tries = 0; open === 'opened' && tries < 10; tries++) {
  takeAll()
  open = await nameOf(ring.openat('/dev/null'))
}
takeAll()
const accept = await nameOf(ring.accept(listening))
for (const fd of taken.splice(0)) closeSync(fd)
const file = await ring.openat('/dev/null')
const after = file.fd >= 0
await file.close()
client.destroy()
await listening.close()
await ring.close()
console.log(JSON.stringify({ ring: ringCode, open, accept, after }))
