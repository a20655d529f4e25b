/** Under a limit of file sizes of 4096 bytes (`ulimit -f 8`): writes up to it and past it. */
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ChainError, IoBuffer, Ring, type SystemError } from '../../../../src/ring/index.ts'

// Without this a write past the limit ends the process.
process.on('SIGXFSZ', () => {})

const folder = mkdtempSync(join(tmpdir(), 'riolog-limit-'))
const fd = openSync(join(folder, 'file'), constants.O_RDWR | constants.O_CREAT, 0o600)
rmSync(folder, { recursive: true })
const ring = Ring.open({ depth: 4 })
const buffer = IoBuffer.alloc(4096)
const failure = (completion: PromiseLike<unknown>) =>
  completion.then(
    () => undefined,
    error => error,
  )
const short = await ring.writeAt(fd, buffer, 2048)
const refused: SystemError = await failure(ring.writeAt(fd, buffer, 4096))
const tell = ({ index, results }: ChainError) => ({ index, results })
const chain = await failure(ring.chain().writeAt(fd, buffer, 8192).fsync(fd).submit())
const shortInChain = await failure(ring.chain().writeAt(fd, buffer, 4000).fsync(fd).submit())
await ring.close()
console.log(
  JSON.stringify({
    short,
    refused: refused.errnoName,
    chain: tell(chain),
    shortInChain: tell(shortInChain),
    lent: buffer.lent,
  }),
)
