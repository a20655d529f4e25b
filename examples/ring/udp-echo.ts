/**
 * A UDP echo server: `udp-echo.ts [--host ADDRESS] [--port PORT]`, ended by SIGINT.
 */
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import { type DatagramSocket, Ring, SystemError } from '../../src/ring/index.ts'

async function echo(ring: Ring, socket: DatagramSocket, signal: AbortSignal): Promise<void> {
  const bytes = new Uint8Array(65536) // no datagram is longer
  for (;;) {
    const { length, from } = await ring.recvmsg(socket, [bytes], { signal })
    try {
      await ring.sendmsg(socket, [bytes.subarray(0, length)], from)
    } catch (error) {
      // Where one sender cannot be reached (ENETUNREACH, EPERM), the others can.
      if (!(error instanceof SystemError)) throw error
      console.error(`to ${JSON.stringify(from)}: ${error.message}`)
    }
  }
}

async function main(address: string, port: number): Promise<void> {
  await using ring = Ring.open({ depth: 8 })
  await using socket = ring.datagram({ on: { address, port } })
  const interrupt = new AbortController()
  process.once('SIGINT', () => interrupt.abort())
  console.log('listening on', JSON.stringify(socket.address()))
  try {
    await echo(ring, socket, interrupt.signal)
  } catch (error) {
    if (!interrupt.signal.aborted) throw error
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
  console.error(`${(error as Error).message}\nusage: udp-echo.ts [--host ADDRESS] [--port PORT]`)
  process.exitCode = 1
}
