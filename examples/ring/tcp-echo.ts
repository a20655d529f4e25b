/**
 * A TCP echo server: `tcp-echo.ts [--host ADDRESS] [--port PORT]`, ended by SIGINT. One request of the
 * kernel accepts all connections, and each has a loop of its own.
 */
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import { IoBuffer, Ring, RiologError, type StreamSocket } from '../../src/ring/index.ts'

async function echo(ring: Ring, connection: StreamSocket): Promise<void> {
  const buffer = IoBuffer.alloc(16 * 1024)
  try {
    connection.setOption('noDelay', true)
    for (;;) {
      const length = await ring.recv(connection, buffer)
      if (length === 0) return
      for (let from = 0; from < length; ) {
        from += await ring.send(connection, buffer, { from, length: length - from })
      }
    }
  } catch (error) {
    // The other end is gone (ECONNRESET, EPIPE), or this server ends: neither concerns the others.
    if (!(error instanceof RiologError)) throw error
  } finally {
    await connection.close()
  }
}

async function main(address: string, port: number): Promise<void> {
  const ring = Ring.open()
  try {
    await using listening = ring.listen({ on: { address, port } })
    const connections = ring.acceptAll(listening)
    process.once('SIGINT', () => void connections.return()) // which ends the loop below
    console.log('listening on', JSON.stringify(listening.address()))
    for await (const connection of connections) void echo(ring, connection)
  } finally {
    await ring.close({ cancel: true })
  }
}

try {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '7007' },
    },
  })
  await main(values.host, Number(values.port))
} catch (error) {
  console.error(`${(error as Error).message}\nusage: tcp-echo.ts [--host ADDRESS] [--port PORT]`)
  process.exitCode = 1
}
