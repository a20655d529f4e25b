/**
 * Several logs on one simulated device. It has one directory, so each log sees the files with a prefix of its own. One
 * difference remains: a sync of the directory is a sync of the names of all.
 */
import type { Disk, DiskFile } from '../../src/disk/disk.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import { but, KIB } from '../support/simulated.ts'

/** A log in segments of 64 KiB, unless the options say otherwise. */
export function openBeside(disk: Disk, name: string, options: LogOptions = {}): Promise<Log> {
  const checked = checkOptions({ segmentSize: 64 * KIB, ...options })
  return Log.openOn(withPrefix(disk, `${name}.`), name, checked)
}

function withPrefix(disk: Disk, prefix: string): Disk {
  const inner = new WeakMap<DiskFile, DiskFile>()
  const named = (file: DiskFile): DiskFile => {
    const outer = but(file, {
      get name() {
        return file.name.slice(prefix.length)
      },
    })
    inner.set(outer, file)
    return outer
  }
  return but(disk, {
    openDirectory: async (...place) => {
      const directory = await disk.openDirectory(...place)
      return but(directory, {
        list: async () =>
          (await directory.list())
            .filter(name => name.startsWith(prefix))
            .map(name => name.slice(prefix.length)),
        open: async (name, ...how) => named(await directory.open(prefix + name, ...how)),
        unlink: name => directory.unlink(prefix + name),
        rename: (file, name) => directory.rename(inner.get(file)!, prefix + name),
      })
    },
  })
}
