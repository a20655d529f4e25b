/**
 * The random reads through FileHandle.read, into buffers that are allocated once.
 *
 * Arguments: file, depth, seconds.
 */
import { constants, open } from 'node:fs/promises'
import { BLOCK, runRandomReads } from './random-reads.ts'

/** Of the lib that declares it we need nothing else. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } }

const WASM_PAGE = 65536

const [path, depth, seconds] = process.argv.slice(2)
const workers = Number(depth)
const file = await open(path, constants.O_RDONLY | constants.O_DIRECT)
const { size } = await file.stat()
// Node's own buffers are not aligned as O_DIRECT asks; WebAssembly memory starts on a page.
const { buffer } = new WebAssembly.Memory({ initial: Math.ceil((workers * BLOCK) / WASM_PAGE) })
const buffers = Array.from({ length: workers }, (_, i) => Buffer.from(buffer, i * BLOCK, BLOCK))

const read = async (worker: number, position: number) => {
  const into = buffers[worker]
  const { bytesRead } = await file.read(into, 0, BLOCK, position)
  if (bytesRead !== BLOCK) throw new Error(`a short read of ${bytesRead} bytes`)
  return into.readInt32LE(0)
}
await runRandomReads(read, size, workers, Number(seconds))
await file.close()
