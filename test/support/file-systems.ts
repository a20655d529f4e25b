/** File systems of our own: in image files on loop devices, and tmpfs. It takes root, and mkfs of each. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MIB = 1024 * 1024

export const FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs', 'tmpfs'] as const
export type FileSystem = (typeof FILE_SYSTEMS)[number]

/** The least that each takes: mkfs.xfs refuses less than 300 MiB, mkfs.btrfs less than 109 MiB. */
const LEAST_MIB = { ext4: 16, xfs: 320, btrfs: 128, tmpfs: 8 }
const QUIET = { ext4: ['-q', '-F'], xfs: ['-q'], btrfs: ['-q'] }

export interface Mounted {
  /** Where it is mounted. */
  readonly at: string
  remount(options: string): void
  /** Takes it off and mounts it again, as after a start of the system. */
  again(): void
  unmount(): void
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { stdio: 'pipe', encoding: 'utf8' })
}

/** Every mount is taken off again, however the process ends, but for SIGKILL. */
const open = new Set<Mounted>()
process.on('exit', () => {
  for (const mounted of open) mounted.unmount()
})

/** A fresh one of so many MiB or the least that it takes, or why there is none. */
export function mountFresh(
  fileSystem: FileSystem,
  mebibytes = LEAST_MIB[fileSystem],
  options = 'noatime',
): Mounted | { readonly reason: string } {
  const folder = mkdtempSync(join(tmpdir(), 'riolog-mount-'))
  const at = join(folder, 'mounted')
  const image = join(folder, 'image')
  mkdirSync(at)
  const bytes = Math.max(mebibytes, LEAST_MIB[fileSystem]) * MIB
  const mount = () =>
    fileSystem === 'tmpfs'
      ? run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'riolog', at)
      : run('mount', '-t', fileSystem, '-o', `loop,${options}`, image, at)
  try {
    if (fileSystem !== 'tmpfs') {
      writeFileSync(image, '')
      truncateSync(image, bytes)
      run(`mkfs.${fileSystem}`, ...QUIET[fileSystem], image)
    }
    mount()
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    return { reason: `cannot mount ${fileSystem}: ${(error as Error).message.split('\n')[0]}` }
  }
  const mounted = {
    at,
    remount: (how: string) => run('mount', '-o', `remount,${how}`, at),
    again: () => {
      run('umount', at)
      mount()
    },
    unmount: () => {
      if (!open.delete(mounted)) return
      try {
        run('umount', at)
      } catch {
        // Somebody is still in it, as when a campaign is interrupted: it goes when they have left.
        run('umount', '-l', at)
      }
      rmSync(folder, { recursive: true, force: true })
    },
  }
  open.add(mounted)
  return mounted
}
