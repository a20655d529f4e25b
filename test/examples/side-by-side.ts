/**
 * Several logs on one simulated device. It has one directory, so each log sees the files with a prefix of its own. One
 * difference remains: a sync of the directory is a sync of the names of all.
 */
import type { Disk, DiskFile } from '../../src/disk/disk.ts'
import type { SimulatedDevice } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import { but, KIB } from '../support/simulated.ts'

/** A log in segments of 64 KiB, unless the options say otherwise. */
export function openBeside(disk: Disk, name: string, options: LogOptions = {}): Promise<Log> {
  const checked = checkOptions({ segmentSize: 64 * KIB, ...options })
  return Log.openOn(withPrefix(disk, `${name}.`), name, checked)
}

/**
 * To be called on a new device. After a power cut a block may have what a deleted file had, or, where none was
 * deleted, what any file has: here that could be the other log's manifest, in place of a copy that was being written.
 * No opening can tell that copy from its own, and no disk does that to a file that is written in place.
 */
export function deleteSomething(device: SimulatedDevice): void {
  device.putFile('deleted', Buffer.alloc(4 * KIB, 'deleted '))
  device.unlink('deleted')
  device.syncNames()
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
