/** Under a limit of locked memory: registers a buffer that is above it, and uses it all the same. */
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IoBuffer, Ring } from '../../../../src/ring/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-locked-'))
const path = join(folder, 'file')
const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
const ring = Ring.open({ depth: 4 })
const buffer = IoBuffer.alloc(1 << 20)
const registered = ring.registerBuffer(buffer)
buffer.bytes.fill('z'.charCodeAt(0))
const written = await ring.writeAt(fd, buffer, 0)
await ring.close()
const text = readFileSync(path, 'latin1').slice(0, 3)
closeSync(fd)
rmSync(folder, { recursive: true })
console.log(JSON.stringify({ registered, written, text }))
