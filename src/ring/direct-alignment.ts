import { constants, fstatSync, readFileSync } from 'node:fs'
import { addon, DIO_ALIGNMENT, GET_FLAGS } from '../native.ts'

/** Where neither the kernel nor sysfs tells: good for every disk that is sold. */
export const DEFAULT_ALIGNMENT = 4096

/**
 * What O_DIRECT asks of addresses, lengths and offsets on this file, in bytes: from statx(2)
 * STATX_DIOALIGN, else the device's logical block size, else 4096.
 */
export function alignmentOf(fd: number): number {
  const told = addon().fileCall(DIO_ALIGNMENT, fd, '', '', 0, 0)
  if (told > 0) return told
  try {
    return logicalBlockSize(fstatSync(fd).dev) ?? DEFAULT_ALIGNMENT
  } catch {
    return DEFAULT_ALIGNMENT
  }
}

/** The alignment that a descriptor asks for; 1 when it is not open for direct I/O, or not open. */
export function directAlignment(fd: number): number {
  const flags = addon().fileCall(GET_FLAGS, fd, '', '', 0, 0)
  const direct = flags >= 0 && (flags & (constants.O_DIRECT ?? 0)) !== 0
  return direct ? alignmentOf(fd) : 1
}

function logicalBlockSize(device: number): number | undefined {
  // Linux: the old 8:8 layout, extended (makedev(3)).
  const major = Math.floor(device / 256) % 4096
  const minor = (device % 256) + Math.floor(device / 0x100000) * 256
  for (const up of ['', '/..']) {
    try {
      const path = `/sys/dev/block/${major}:${minor}${up}/queue/logical_block_size`
      return Number(readFileSync(path, 'utf8'))
    } catch {}
  }
  return undefined
}
