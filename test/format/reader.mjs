/**
 * Reads a log, written from docs/FORMAT.md alone: it shares no code with riolog, and takes only what a
 * stranger would have. What the two say of the same files must be the same.
 */
import { createDecipheriv, hkdfSync } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1
  return n >>> 0
})

export function crc32c(...parts) {
  let crc = 0xffffffff
  for (const part of parts) for (const byte of part) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

export class Damage extends Error {}

const u32 = (bytes, at) => bytes.readUInt32LE(at)
const u64 = (bytes, at) => Number(bytes.readBigUInt64LE(at))
const raw64 = (bytes, at) => bytes.readBigUInt64LE(at)
const alignUp = (value, a) => Math.ceil(value / a) * a

function lsnBytes(lsn) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(lsn))
  return bytes
}

// ---- MANIFEST ----

function readCopy(file, at) {
  const bytes = file.subarray(at, at + 512)
  if (bytes.length < 96 || bytes.toString('latin1', 0, 8) !== 'RIOLOGMF') return undefined
  if (u32(bytes, 8) > 1) throw new Damage(`version ${u32(bytes, 8)}`)
  if (u32(bytes, 12) !== crc32c(bytes.subarray(0, 12), bytes.subarray(16, 96))) return undefined
  return {
    uuid: bytes.toString('hex', 16, 32),
    segmentSize: u64(bytes, 32),
    A: u32(bytes, 40),
    pinned: u32(bytes, 44) === 1,
    update: u64(bytes, 56),
    newest: { number: u64(bytes, 64), salt: raw64(bytes, 72) },
    floor: u64(bytes, 80),
    trim: u64(bytes, 88),
    all: bytes.toString('hex', 16, 96),
  }
}

function readManifest(dir) {
  const path = join(dir, 'MANIFEST')
  const file = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  const [a, b] = [readCopy(file, 0), readCopy(file, 65536)]
  if (a === undefined || b === undefined) {
    const only = a ?? b
    if (only !== undefined) return only
    if (readdirSync(dir).some(name => /^\d{16}\.seg$/.test(name))) throw new Damage('no manifest')
    throw new Error('no log')
  }
  if (a.uuid !== b.uuid) throw new Damage('copies of two logs')
  if (a.update === b.update && a.all !== b.all)
    throw new Damage('copies that contradict each other')
  return a.update >= b.update ? a : b
}

// ---- segments ----

class Segment {
  constructor(dir, manifest, { number, salt }) {
    const { A, segmentSize, uuid } = manifest
    const name = `${String(number).padStart(16, '0')}.seg`
    if (!existsSync(join(dir, name))) throw new Damage(`${name} is missing`)
    const file = readFileSync(join(dir, name))
    this.number = number
    this.uuid = uuid
    this.salt = salt
    this.base = number * segmentSize
    this.A = A
    this.maxGroup = Math.min(2 ** 20 + 2 * A, segmentSize - 2 * A)
    const metadata = file.length < 96 ? 0 : u32(file, 92)
    const good =
      file.length >= A &&
      file.toString('latin1', 0, 8) === 'RIOLOGSG' &&
      u32(file, 8) === 1 &&
      96 + metadata <= A &&
      u32(file, 12) === crc32c(file.subarray(0, 12), file.subarray(16, 96 + metadata)) &&
      file.toString('hex', 16, 32) === uuid &&
      u64(file, 32) === number &&
      raw64(file, 48) === salt
    if (!good) throw new Damage(`${name} has a bad header`)
    this.parent = { number: u64(file, 56), salt: raw64(file, 64) }
    this.fileBytes = u64(file, 72)
    if (file.length < this.fileBytes) throw new Damage(`${name} is short`)
    this.bytes = file.subarray(0, this.fileBytes)
    this.first = this.header(this.base + A)
    this.cut = this.base + this.fileBytes
  }

  /** A group's header at a place, if one counts there. */
  header(lsn) {
    const at = lsn - this.base
    if (at + 64 > this.bytes.length) return undefined
    const bytes = this.bytes.subarray(at, at + 64)
    if (u32(bytes, 0) !== crc32c(bytes.subarray(4))) return undefined
    if (raw64(bytes, 8) !== this.salt || u64(bytes, 16) !== lsn) return undefined
    const length = u32(bytes, 40)
    if (length > this.maxGroup - 64) return undefined
    return {
      lsn,
      checksum: u32(bytes, 4),
      previousEnd: u64(bytes, 24),
      durable: u64(bytes, 32),
      length,
      count: u32(bytes, 44),
      batch: u32(bytes, 48),
      end: lsn + alignUp(64 + length, this.A),
    }
  }

  /** The group there with its records, if all of it verifies and ends by `limit`. */
  group(lsn, limit) {
    const header = this.header(lsn)
    if (header === undefined || header.end > limit) return undefined
    const records = []
    const heads = []
    const end = lsn - this.base + 64 + header.length
    let at = lsn - this.base + 64
    for (let i = 0; i < header.count; i++) {
      if (at + 12 > end) return undefined
      const head = this.bytes.subarray(at, at + 12)
      const length = u32(head, 4)
      if (at + 12 + length > end) return undefined
      const flags = u32(head, 8)
      const place = Buffer.concat([this.bytes.subarray(48, 56), lsnBytes(this.base + at)])
      const sum = crc32c(place, this.bytes.subarray(at + 4, at + 12 + length))
      if (u32(head, 0) !== sum) return undefined
      if (flags > 15) throw new Error('a flag of a later version')
      const data = this.bytes.subarray(at + 12, at + 12 + length)
      records.push({ lsn: this.base + at, flags, data, segment: this })
      heads.push(head)
      at += alignUp(12 + length, 8)
    }
    if (at !== end || header.checksum !== crc32c(...heads)) return undefined
    return { ...header, records }
  }
}

function liveSegments(dir, manifest) {
  const { A, floor, trim, pinned, segmentSize } = manifest
  const segments = []
  let cut = Infinity
  for (let ref = manifest.newest; ref.number !== 0; ) {
    const segment = new Segment(dir, manifest, ref)
    segments.unshift(segment)
    segment.cut = Math.min(segment.cut, cut, pinned ? floor : Infinity)
    if (segment.first === undefined) {
      if (segment.base + A < floor) throw new Damage('a first group is bad')
      cut = Infinity
    } else {
      cut = segment.first.previousEnd
      if (cut <= trim && segment.first.end <= floor) break
      const parent = Math.floor((cut - 1) / segmentSize)
      if (parent !== segment.parent.number) throw new Damage('a link does not lead to the parent')
    }
    ref = segment.parent
  }
  return segments
}

// ---- where the log ends ----

function findEnd(manifest, segments) {
  const { floor, pinned, segmentSize, A } = manifest
  if (pinned || segments.length === 0) return floor
  const number = Math.floor((floor - 1) / segmentSize)
  let i = segments.findIndex(segment => segment.number === number)
  if (i < 0 || floor > segments[i].cut) throw new Damage('the floor is in no live segment')
  let evidence = floor
  let end = floor
  let at = floor
  let batchFrom
  for (;;) {
    if (at === segments[i].cut) {
      if (i + 1 === segments.length) return batchFrom ?? end
      i++
      at = segments[i].base + A
    }
    const group = segments[i].group(at, segments[i].cut)
    const goesOn = batchFrom === undefined ? [0, 1] : [2, 3]
    if (group === undefined || group.previousEnd !== end || !goesOn.includes(group.batch)) break
    if (group.batch === 1) batchFrom = end
    if (group.batch === 3) batchFrom = undefined
    evidence = Math.max(evidence, group.durable)
    end = group.end
    at = end
  }
  for (const segment of segments.slice(i)) {
    const from = segment === segments[i] ? at : segment.base + A
    for (let lsn = from; lsn < segment.cut; lsn += A) {
      evidence = Math.max(evidence, segment.header(lsn)?.durable ?? 0)
    }
  }
  if (evidence > end) throw new Damage(`durable up to ${evidence}, verifies up to ${end}`)
  return batchFrom ?? end
}

/** A record or fragment as it was before it was encrypted. */
function decrypt({ lsn, flags, data, segment }, keys) {
  const id = data.subarray(0, 4)
  const info = Buffer.concat([Buffer.from('riolog record 1'), Buffer.from(segment.uuid, 'hex')])
  const salt = segment.bytes.subarray(48, 56)
  const key = Buffer.from(hkdfSync('sha256', keys[u32(id, 0)], salt, info, 32))
  const nonce = Buffer.concat([lsnBytes(lsn), Buffer.alloc(4)])
  const decipher = createDecipheriv('aes-256-gcm', key, nonce)
  const head = Buffer.alloc(8)
  head.writeUInt32LE(data.length, 0)
  head.writeUInt32LE(flags, 4)
  decipher.setAAD(Buffer.concat([head, id]))
  decipher.setAuthTag(data.subarray(-16))
  return Buffer.concat([decipher.update(data.subarray(4, -16)), decipher.final()])
}

function inflate(data, segmentSize) {
  const length = u32(data, 0)
  if (length > segmentSize) throw new Damage('a length beyond a segment')
  return inflateRawSync(data.subarray(4), { maxOutputLength: length })
}

/** Whole records of records and fragments in order; those before `trim` are gone, with what goes on. */
function assemble(found, { trim, segmentSize }, keys) {
  const records = []
  let open
  let isBefore = true
  for (const each of found) {
    const { lsn, flags } = each
    const goesOn = (flags & 1) !== 0
    const continues = (flags & 2) !== 0
    if (!continues) isBefore = lsn < trim
    if (isBefore) continue
    if (continues !== (open !== undefined)) throw new Damage(`fragments do not fit at ${lsn}`)
    const data = flags & 8 ? decrypt(each, keys) : each.data
    open = { lsn: open?.lsn ?? lsn, parts: [...(open?.parts ?? []), data] }
    if (goesOn) continue
    const whole = Buffer.concat(open.parts)
    records.push({ lsn: open.lsn, data: flags & 4 ? inflate(whole, segmentSize) : whole })
    open = undefined
  }
  return records
}

/** The end of a log that nobody writes to, and its records. @throws Damage */
export function readLog(dir, keys = {}) {
  const manifest = readManifest(dir)
  const segments = liveSegments(dir, manifest)
  const end = findEnd(manifest, segments)
  const records = []
  for (const segment of segments) {
    const stop = Math.min(segment.cut, end)
    // A rewind may have cut within a group, which verifies as a whole only.
    const limit = segment.cut <= end ? segment.base + segment.fileBytes : end
    for (let lsn = segment.base + manifest.A; lsn < stop; ) {
      const group = segment.group(lsn, limit)
      if (group === undefined) throw new Damage(`the group at ${lsn} is bad`)
      for (const record of group.records) {
        if (record.lsn < stop) records.push(record)
      }
      lsn = group.end
    }
  }
  return { end, records: assemble(records, manifest, keys) }
}
