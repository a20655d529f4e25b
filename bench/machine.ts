/** What a run ran on: figures without it say nothing. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { basename } from 'node:path'

export interface Machine {
  readonly kernel: string
  readonly node: string
  readonly compiler: string
  readonly fio: string
  readonly cpu: string
  readonly cpus: number
  readonly memoryGiB: number
  /** Whether all memory may lie in huge pages (`always`), or what asks for it (`madvise`). */
  readonly hugePages: string
  readonly fileSystem: string
  readonly device: string
  /** What the device says of itself, where it does. */
  readonly deviceModel: string
  readonly writeCache: string
}

function ask(program: string, ...args: string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' }).split('\n')[0].trim()
  } catch {
    return 'unknown'
  }
}

/** @param folder whose file system and device are meant */
export function machineOf(folder: string): Machine {
  const [fileSystem, device] = ['FSTYPE', 'SOURCE'].map(column =>
    ask('findmnt', '-n', '-o', column, '-T', folder),
  )
  return {
    kernel: release(),
    node: process.version,
    compiler: ask('cc', '--version'),
    fio: ask('fio', '--version'),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    hugePages: chosenOf('/sys/kernel/mm/transparent_hugepage/enabled'),
    fileSystem,
    device,
    deviceModel: attributeOf(device, 'device/model'),
    writeCache: attributeOf(device, 'queue/write_cache'),
  }
}

/** The word in brackets, as in `always [madvise] never`. */
function chosenOf(path: string): string {
  return (existsSync(path) && /\[(.*)\]/.exec(readFileSync(path, 'utf8'))?.[1]) || 'unknown'
}

function attributeOf(device: string, name: string): string {
  const sys = sysfsOf(device)
  // A partition has no queue of its own; its disk's folder is the one above.
  const found = [`${sys}/${name}`, `${sys}/../${name}`].find(path => existsSync(path))
  return found === undefined ? 'unknown' : readFileSync(found, 'utf8').trim()
}

function sysfsOf(device: string): string {
  try {
    return realpathSync(`/sys/class/block/${basename(realpathSync(device))}`)
  } catch {
    return '/nonexistent'
  }
}

/** The file that counts what a device does, or undefined where there is none. */
export function statOf(device: string): string | undefined {
  const path = `${sysfsOf(device)}/stat`
  return existsSync(path) ? path : undefined
}
