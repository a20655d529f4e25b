/**
 * What a record of the log says: one batch, of one operation or many.
 *
 * ```
 *   version   1 byte, 1
 *   operation, as many as there are:
 *     kind    1 byte
 *     key     length (varint), bytes
 *     from    LSN (varint)              only of a move
 *     value   length (varint), bytes    not of a del
 * ```
 *
 * A batch is one record because a record is what the log keeps whole: after a crash all of it is there, or
 * nothing. Checksums and the total length are the log's, so a record needs neither.
 */
import { ByteReader, ByteWriter, chunkBytes, type Key, varintBytes } from './bytes.ts'
import { KvError } from './errors.ts'

export const VERSION = 1
const DEL = 0
const PUT = 1
const MOVE = 2

export type Operation =
  | { readonly type: 'del'; readonly key: Key }
  | { readonly type: 'put'; readonly key: Key; readonly value: Buffer }
  /**
   * The value that the record at `from` gave to the key, again: so that the old record can be trimmed. It
   * does nothing when the key has another value by then.
   */
  | {
      readonly type: 'move'
      readonly key: Key
      readonly from: number
      readonly value: Buffer
    }

export function encodeBatch(operations: readonly Operation[]): Buffer {
  let length = 1
  for (const operation of operations) length += operationBytes(operation)
  const writer = new ByteWriter(length).byte(VERSION)
  for (const operation of operations) {
    writer.byte(operation.type === 'put' ? PUT : operation.type === 'del' ? DEL : MOVE)
    writer.key(operation.key)
    if (operation.type === 'move') writer.varint(operation.from)
    if (operation.type !== 'del') writer.chunk(operation.value)
  }
  return writer.bytes
}

function operationBytes(operation: Operation): number {
  const bytes = 1 + chunkBytes(operation.key)
  if (operation.type === 'del') return bytes
  const from = operation.type === 'move' ? varintBytes(operation.from) : 0
  return bytes + from + chunkBytes(operation.value)
}

/**
 * Calls `apply` with each operation, and with the place of its value in the record. Values are views
 * of the record's bytes.
 * @throws ERR_KV_CORRUPT, ERR_KV_FUTURE_VERSION
 */
export function decodeBatch(
  record: Buffer,
  apply: (operation: Operation, valueOffset: number) => void,
): void {
  const reader = new ByteReader(record)
  const version = reader.byte()
  if (version !== VERSION) {
    throw new KvError('ERR_KV_FUTURE_VERSION', `a record of version ${version}, not ${VERSION}`)
  }
  while (!reader.isDone) {
    const operation = decodeOperation(reader)
    const valueBytes = operation.type === 'del' ? 0 : operation.value.length
    apply(operation, reader.at - valueBytes)
  }
}

function decodeOperation(reader: ByteReader): Operation {
  const kind = reader.byte()
  const key = reader.key()
  if (kind === DEL) return { type: 'del', key }
  if (kind === PUT) return { type: 'put', key, value: reader.chunk() }
  if (kind === MOVE) return { type: 'move', key, from: reader.varint(), value: reader.chunk() }
  throw new KvError('ERR_KV_CORRUPT', `an operation of an unknown kind: ${kind}`)
}
