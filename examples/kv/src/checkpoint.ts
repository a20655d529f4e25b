/**
 * A checkpoint: the state of the store at an LSN, in a file of its own. Its format is a row of blocks:
 *
 * ```
 *   length     4 bytes, of the payload
 *   checksum   4 bytes: CRC-32 of all payloads up to this one
 *   payload    head      0, magic, version, LSN, UUID of the log
 *              entries   1, then: kind (0: in memory, 1: stored), key, value or LSN, offset, length
 *              end       2, number of entries
 * ```
 *
 * Numbers in payloads are varints, byte strings have their length before them. The checksum goes on from
 * block to block, so that one that is lost, twice or out of place is found, as a missing end is.
 */
import { crc32 } from 'node:zlib'
import { ByteReader, ByteWriter, chunkBytes, varintBytes } from './bytes.ts'
import type { CheckpointFile, CheckpointFiles } from './checkpoint-files.ts'
import { KvError } from './errors.ts'
import { type Entry, OrderedMap, type ReadonlyOrderedMap } from './ordered-map.ts'
import type { State } from './state.ts'
import { isStored, type Value } from './value.ts'

const MAGIC = Buffer.from('riolog-kv')
const VERSION = 1
const HEAD = 0
const ENTRIES = 1
const END = 2
const IN_MEMORY = 0
const STORED = 1
const PREFIX_BYTES = 8
const BLOCK_BYTES = 64 * 1024
const TEMPORARY = 'checkpoint.tmp'
const NAME = /^checkpoint-(\d{16})$/

function nameOf(lsn: number): string {
  return `checkpoint-${String(lsn).padStart(16, '0')}`
}

/** The LSNs of the checkpoints that there are, oldest first. */
export async function listCheckpoints(files: CheckpointFiles): Promise<number[]> {
  const names = await files.list()
  const lsns = names.flatMap(name => NAME.exec(name)?.[1] ?? []).map(Number)
  return lsns.sort((one, other) => one - other)
}

/** Removes the checkpoints before an LSN, and what a crash left half written. */
export async function removeBefore(files: CheckpointFiles, lsn: number): Promise<void> {
  const names = await files.list()
  const isOld = (name: string) => NAME.test(name) && name < nameOf(lsn)
  for (const name of names) if (name === TEMPORARY || isOld(name)) await files.remove(name)
}

/**
 * When this resolves the checkpoint is durable; a crash before that leaves the one before it.
 * @returns how long it is
 */
export async function writeCheckpoint(
  files: CheckpointFiles,
  { map, lsn }: State,
  uuid: string,
): Promise<number> {
  const file = await files.create(TEMPORARY)
  try {
    const blocks = new BlockWriter(file)
    const id = Buffer.from(uuid)
    const headBytes = 2 + chunkBytes(MAGIC) + varintBytes(lsn) + chunkBytes(id)
    await blocks.write(headBytes, head =>
      head.byte(HEAD).chunk(MAGIC).byte(VERSION).varint(lsn).chunk(id),
    )
    await writeEntries(blocks, map)
    await blocks.write(1 + varintBytes(map.size), end => end.byte(END).varint(map.size))
    await file.publish(nameOf(lsn))
    return blocks.bytes
  } finally {
    await file.close()
  }
}

/** Each block is a wait, in which others go on. */
async function writeEntries(blocks: BlockWriter, map: ReadonlyOrderedMap<Value>): Promise<void> {
  const cursor = map.cursor()
  for (let entry = cursor.next(); entry !== undefined; ) {
    const entries: Entry<Value>[] = []
    let bytes = 1
    for (; entry !== undefined && bytes < BLOCK_BYTES; entry = cursor.next()) {
      entries.push(entry)
      bytes += entryBytes(entry)
    }
    await blocks.write(bytes, block => {
      block.byte(ENTRIES)
      for (const entry of entries) encodeEntry(block, entry)
    })
  }
}

function entryBytes([key, value]: Entry<Value>): number {
  const bytes = 1 + chunkBytes(key)
  if (!isStored(value)) return bytes + chunkBytes(value)
  const { lsn, offset, length } = value
  return bytes + varintBytes(lsn) + varintBytes(offset) + varintBytes(length)
}

function encodeEntry(writer: ByteWriter, [key, value]: Entry<Value>): void {
  if (!isStored(value)) {
    writer.byte(IN_MEMORY).key(key).chunk(value)
    return
  }
  const { lsn, offset, length } = value
  writer.byte(STORED).key(key).varint(lsn).varint(offset).varint(length)
}

class BlockWriter {
  bytes = 0
  readonly #file: CheckpointFile
  #checksum = 0

  constructor(file: CheckpointFile) {
    this.#file = file
  }

  async write(payloadBytes: number, encode: (writer: ByteWriter) => void): Promise<void> {
    const writer = new ByteWriter(PREFIX_BYTES + payloadBytes).skip(PREFIX_BYTES)
    encode(writer)
    const block = writer.bytes
    const payload = block.subarray(PREFIX_BYTES)
    this.#checksum = crc32(payload, this.#checksum)
    block.writeUInt32LE(payload.length, 0)
    block.writeUInt32LE(this.#checksum, 4)
    this.bytes += block.length
    await this.#file.write(block)
  }
}

/** @throws ERR_KV_CORRUPT, ERR_KV_FUTURE_VERSION, ERR_KV_FOREIGN */
export async function readCheckpoint(
  files: CheckpointFiles,
  lsn: number,
  uuid: string,
): Promise<State> {
  const map = new OrderedMap<Value>()
  let place: 'head' | 'entries' | 'behind' = 'head'
  for await (const payload of payloadsOf(files.read(nameOf(lsn)))) {
    const reader = new ByteReader(payload)
    const kind = reader.byte()
    if (place === 'head' && kind === HEAD) {
      checkHead(reader, lsn, uuid)
      place = 'entries'
    } else if (place === 'entries' && kind === ENTRIES) {
      while (!reader.isDone) readEntry(map, reader)
    } else if (place === 'entries' && kind === END && reader.varint() === map.size) {
      place = 'behind'
    } else {
      throw damaged('a block is out of place')
    }
  }
  if (place !== 'behind') throw damaged('it has no end')
  return { map, lsn }
}

function checkHead(reader: ByteReader, lsn: number, uuid: string): void {
  if (!reader.chunk().equals(MAGIC)) throw damaged('it does not begin like one')
  const version = reader.byte()
  if (version !== VERSION) {
    throw new KvError('ERR_KV_FUTURE_VERSION', `a checkpoint of version ${version}, not ${VERSION}`)
  }
  if (reader.varint() !== lsn) throw damaged('its name is that of another LSN')
  if (String(reader.chunk()) === uuid) return
  throw new KvError('ERR_KV_FOREIGN', 'the checkpoint belongs to another log')
}

function readEntry(map: OrderedMap<Value>, reader: ByteReader): void {
  const kind = reader.byte()
  const key = reader.key()
  if (kind === IN_MEMORY) {
    map.set(key, Buffer.from(reader.chunk()))
    return
  }
  if (kind !== STORED) throw damaged(`an entry of an unknown kind: ${kind}`)
  const [lsn, offset, length] = [reader.varint(), reader.varint(), reader.varint()]
  map.set(key, { lsn, offset, length })
}

/** The payloads of a file, each verified before anything in it is looked at. */
async function* payloadsOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  let checksum = 0
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + rest.readUInt32LE(0)
      if (rest.length < end) break
      const payload = rest.subarray(PREFIX_BYTES, end)
      checksum = crc32(payload, checksum)
      if (checksum !== rest.readUInt32LE(4)) throw damaged('a checksum does not fit')
      yield payload
      rest = rest.subarray(end)
    }
  }
  if (rest.length > 0) throw damaged('it ends within a block')
}

function damaged(what: string): KvError {
  return new KvError('ERR_KV_CORRUPT', `the checkpoint is damaged: ${what}`)
}
