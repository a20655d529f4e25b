import type { Disk, DiskFile } from '../../src/disk/disk.ts'
import { type SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { PendingGroup } from '../../src/log/commit/pending-group.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import type { LogRecord } from '../../src/log/records/record.ts'

export const KIB = 1024

/** A log on a simulated device, with segments small enough that rotation is common. */
export function openSimulated(device: SimulatedDevice, options: LogOptions = {}): Promise<Log> {
  const checked = checkOptions({ segmentSize: 64 * KIB, ...options })
  return Log.openOn(new SimulatedDisk(device), 'simulated', checked)
}

export async function recordsOf(log: Log): Promise<LogRecord[]> {
  const records = []
  for await (const record of log.scan()) records.push(record)
  return records
}

/** By the batch, each copied before it is taken back. */
export async function batchedRecordsOf(log: Log, from = 0): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const batch of log.scanBatches({ from })) {
    for (const { lsn, data } of batch) records.push({ lsn, data: Buffer.from(data) })
  }
  return records
}

/** An object as it is, but for some of its methods. */
export function but<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get(object, key) {
      const replaced = methods[key as keyof T]
      if (replaced !== undefined) return replaced
      const value = object[key as keyof T]
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}

/** A disk as it is, but for some methods of each file that it opens. */
export function withFiles(disk: Disk, methods: (file: DiskFile) => Partial<DiskFile>): Disk {
  return but(disk, {
    openDirectory: async (...place) => {
      const directory = await disk.openDirectory(...place)
      return but(directory, {
        open: async (...asked) => {
          const file = await directory.open(...asked)
          return but(file, methods(file))
        },
      })
    },
  })
}

/**
 * A batch that fails in its middle, as where memory runs out there: that poisons.
 * @returns what it threw
 */
export function failingBatch(log: Log): unknown {
  const { add } = PendingGroup.prototype
  let added = 0
  PendingGroup.prototype.add = function (...record) {
    if (++added === 2) throw new RangeError('in the middle of a batch')
    return add.apply(this, record)
  }
  try {
    log.appendBatch([Buffer.from('of a batch'), Buffer.from('of a batch')])
    return undefined
  } catch (error) {
    return error
  } finally {
    PendingGroup.prototype.add = add
  }
}
