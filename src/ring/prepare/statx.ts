/** What statx(2) tells, out of its struct (include/uapi/linux/stat.h). */

export const STATX_BYTES = 256
const STATX_DIOALIGN = 0x2000
/** STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN; what a kernel lacks it leaves out. */
export const STATX_BASIC_STATS = 0x7ff | 0x800 | STATX_DIOALIGN

/** What statx(2) tells. */
export interface Statx {
  /** STATX_* bits of what the kernel filled in. */
  readonly mask: number
  /** Type and permissions, as `st_mode` of stat(2). */
  readonly mode: number
  /** Names that it has. */
  readonly nlink: number
  /** Its owner. */
  readonly uid: number
  /** Its owner's group. */
  readonly gid: number
  /** The number of its inode. */
  readonly ino: bigint
  /** Bytes. */
  readonly size: number
  /** Of 512 bytes each. */
  readonly blocks: number
  /** Preferred size of I/O, in bytes. */
  readonly blksize: number
  /** Nanoseconds since the epoch. */
  readonly atimeNs: bigint
  /** The last change of its bytes, likewise. */
  readonly mtimeNs: bigint
  /** The last change of its metadata, likewise. */
  readonly ctimeNs: bigint
  /** When it was made, likewise. */
  readonly birthtimeNs: bigint
  /** What O_DIRECT asks of addresses, in bytes; undefined: not told (before Linux 6.1). */
  readonly dioMemoryAlignment: number | undefined
  /** What O_DIRECT asks of lengths and offsets, in bytes; undefined: not told (before Linux 6.1). */
  readonly dioOffsetAlignment: number | undefined
  /** Whether it is a regular file. */
  isFile(): boolean
  /** Whether it is a directory. */
  isDirectory(): boolean
}

const S_IFMT = 0o170000
const S_IFREG = 0o100000
const S_IFDIR = 0o040000

export function decodeStatx(bytes: Uint8Array): Statx {
  const view = new DataView(bytes.buffer, bytes.byteOffset, STATX_BYTES)
  const u32 = (at: number) => view.getUint32(at, true)
  const u64 = (at: number) => view.getBigUint64(at, true)
  const time = (at: number) => view.getBigInt64(at, true) * 1_000_000_000n + BigInt(u32(at + 8))
  const mask = u32(0)
  const mode = view.getUint16(28, true)
  const dio = (mask & STATX_DIOALIGN) !== 0
  return {
    mask,
    blksize: u32(4),
    nlink: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode,
    ino: u64(32),
    size: Number(u64(40)),
    blocks: Number(u64(48)),
    atimeNs: time(64),
    birthtimeNs: time(80),
    ctimeNs: time(96),
    mtimeNs: time(112),
    dioMemoryAlignment: dio ? u32(152) : undefined,
    dioOffsetAlignment: dio ? u32(156) : undefined,
    isFile: () => (mode & S_IFMT) === S_IFREG,
    isDirectory: () => (mode & S_IFMT) === S_IFDIR,
  }
}
