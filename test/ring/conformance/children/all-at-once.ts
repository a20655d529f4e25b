/** Everything that a ring does, all at once and without end. */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type InternetAddress, IoBuffer, POLL, Ring } from '../../../../src/ring/index.ts'

const ignore = () => {}

export async function doEverything(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'riolog-everything-'))
  execFileSync('mkfifo', [join(folder, 'fifo')])
  const ring = Ring.open({ depth: 64, registeredFiles: 4 })
  const flags = constants.O_RDWR | constants.O_CREAT
  const fifo = await ring.openat(join(folder, 'fifo'), { flags })
  const file = await ring.openat(join(folder, 'file'), { flags })
  rmSync(folder, { recursive: true })
  const registered = ring.registerFile(file)
  const [buffer, other] = ring.buffers(2, 1 << 16)

  ring.readAt(fifo, buffer, 0).catch(ignore)
  ring.readv(fifo, [new Uint8Array(100), IoBuffer.alloc(4096)], 0).catch(ignore)
  ring.chain().readAt(fifo, new Uint8Array(1), 0).fsync(registered).submit().catch(ignore)
  ring.timeout(600_000).catch(ignore)
  ring.nop({ deadlineMs: 600_000 }).catch(ignore)
  ring.readAt(fifo, new Uint8Array(9), 0, { deadlineMs: 600_000 }).catch(ignore)
  ring.pollAll(fifo, POLL.PRI).next().catch(ignore)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const connections = ring.acceptAll(listening)
  const near = await ring.dial(listening.address() as InternetAddress)
  const far = (await connections.next()).value
  if (far !== undefined) ring.recvAll(far, ring.bufferGroup(4, 1024)).next().catch(ignore)
  ring.messages().next().catch(ignore)
  const datagrams = ring.datagram({ on: { address: '127.0.0.1', port: 0 } })
  ring.recvmsg(datagrams, [new Uint8Array(10)]).catch(ignore)

  const writing = async () => {
    for (;;) {
      await ring.chain().writeAt(registered, other, 0).fdatasync(file).submit()
      await ring.send(near, new Uint8Array(5000), { flags: 0x40 }).catch(ignore) // MSG_DONTWAIT
      await ring.batch().nop().writeAt(file, new Uint8Array(10), 5).submit()
    }
  }
  writing().catch(ignore)
}
