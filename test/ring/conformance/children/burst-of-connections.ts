/**
 * More connections at once than the completion queue has room for: the kernel ends the request that
 * accepts them with a connection as its last result. Each must have one owner.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type InternetAddress, Ring, type StreamSocket } from '../../../../src/ring/index.ts'

let warnings = 0
process.on('warning', warning => {
  if ((warning as Error & { code?: string }).code === 'RIOLOG_HANDLE_DROPPED') warnings++
})

const ring = Ring.open({ depth: 1, cqDepth: 1 })
const clients = Ring.open({ depth: 64 })
const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
const connections = ring.acceptAll(listening)
ring.submitAll()
const ends: StreamSocket[] = []
for (let i = 0; i < 12; i++) {
  // Without a turn of the event loop, so that nobody takes the completions.
  const socket = clients.socket('IPv4', 'stream').waitSync()
  clients.connect(socket, listening.address() as InternetAddress).waitSync()
  ends.push(socket)
}
const accepted: StreamSocket[] = []
while (accepted.length < 12) {
  const next = await connections.next()
  if (next.done === true) break
  accepted.push(next.value)
}
for (let i = 0; i < 20; i++) {
  global.gc?.()
  await delay(5)
}
let dead = 0
for (const connection of accepted) {
  try {
    connection.peerAddress()
  } catch {
    dead++
  }
}
await connections.return()
console.log(JSON.stringify({ accepted: accepted.length, dead, warnings }))
await Promise.all([...ends, ...accepted, listening].map(socket => socket.close().catch(() => {})))
