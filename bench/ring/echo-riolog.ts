/**
 * The echo server on the ring, with the protocol of echo-node-net.ts: a loop for each connection, and
 * one buffer that is received into and sent from.
 */
import { Ring, type StreamSocket } from '../../src/ring/index.ts'

function printCpu(): void {
  const { user, system } = process.cpuUsage()
  console.log(JSON.stringify({ cpuSeconds: (user + system) / 1e6 }))
}

process.on('SIGUSR2', printCpu)
process.on('SIGTERM', () => {
  printCpu()
  process.exit()
})

const BYTES = 65536
const ring = Ring.open({ depth: 1024 })
const server = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
const address = server.address()
console.log(`port ${'port' in address ? address.port : 0}`)

async function serve(connection: StreamSocket): Promise<void> {
  connection.setOption('noDelay', true)
  const bytes = new Uint8Array(BYTES)
  try {
    for (;;) {
      const received = await ring.recv(connection, bytes)
      if (received === 0) break
      for (let sent = 0; sent < received; ) {
        sent += await ring.send(connection, bytes.subarray(sent, received))
      }
    }
  } catch {
    // The client leaves in the middle of a message.
  }
  await connection.close()
}

for await (const connection of ring.acceptAll(server)) serve(connection)
