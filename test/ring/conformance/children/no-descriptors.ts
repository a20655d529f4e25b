/** Takes all descriptors that there may be; then what needs one is refused, and goes on later. */
import { closeSync, openSync } from 'node:fs'
import { createConnection } from 'node:net'
import { type InternetAddress, Ring, type SystemError } from '../../../../src/ring/index.ts'

const ring = Ring.open({ depth: 8 })
const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
const TRIES = 10
const { port } = listening.address() as InternetAddress
const clients = Array.from({ length: TRIES }, () => createConnection(port, '127.0.0.1'))
await Promise.all(clients.map(client => new Promise(resolve => client.once('connect', resolve))))

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
/** What has loaded this file may give back a descriptor of its own meanwhile: the first one to ask takes it. */
const refused = async (ask: () => PromiseLike<unknown>) => {
  let name: string | undefined = 'opened'
  for (let tries = 0; name === 'opened' && tries < TRIES; tries++) {
    takeAll()
    name = await nameOf(ask())
  }
  return name
}
const open = await refused(() => ring.openat('/dev/null'))
const accept = await refused(() => ring.accept(listening))
for (const fd of taken.splice(0)) closeSync(fd)
const file = await ring.openat('/dev/null')
const after = file.fd >= 0
await file.close()
for (const client of clients) client.destroy()
await listening.close()
await ring.close()
console.log(JSON.stringify({ ring: ringCode, open, accept, after }))
