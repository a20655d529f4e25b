/** A file system that is full, and one that turns read-only under a log, as ext4 does upon an error. */
import { readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Log, RiologError } from '../../src/index.ts'
import type { RealEngine } from '../support/engines.ts'
import { type Mounted, mountFresh } from '../support/file-systems.ts'
import { makeRecord, readStamp } from './payload.ts'
import type { Trouble } from './tally.ts'

const MIB = 1024 * 1024
const MOUNT_MIB = 48
const RECORD_BYTES = 20_000
/** More than fits, whatever a file system makes of its room. */
const MOST_RECORDS = 20_000

type Outcome = Trouble | { readonly reason: string }

/** Records with the ids 0, 1, …, and what was acknowledged of them. */
class Client {
  readonly lsns: number[] = []
  readonly wrong: string[] = []
  readonly engine: RealEngine
  readonly directory: string

  constructor(mounted: Mounted, engine: RealEngine) {
    this.engine = engine
    this.directory = join(mounted.at, 'log')
  }

  check(holds: boolean, what: string): void {
    if (!holds) this.wrong.push(what)
  }

  open(readOnly = false): Promise<Log> {
    const segmentSize = readOnly ? undefined : 4 * MIB
    return Log.open(this.directory, { engine: this.engine, readOnly, segmentSize })
  }

  /** Appends until it is refused, or so many; the error's code. */
  async append(log: Log, most: number): Promise<string | undefined> {
    for (let i = 0; i < most; i++) {
      const id = this.lsns.length
      try {
        const record = makeRecord({ id, batchFirst: id, batchCount: 1 }, RECORD_BYTES)
        this.lsns.push(await log.appendDurable(record))
      } catch (error) {
        if (!(error instanceof RiologError)) throw error
        return error.code
      }
    }
    return undefined
  }

  /** All that is acknowledged, in order; more only where the last one's fate was open. */
  async checkRecords(log: Log, when: string, mayHaveMore = false): Promise<void> {
    let found = 0
    for await (const { lsn, data } of log.scan()) {
      const isNext = readStamp(data)?.id === found
      const isKnown = lsn === this.lsns[found] || (found >= this.lsns.length && mayHaveMore)
      this.check(isNext && isKnown, `${when}: LSN ${lsn} is not record ${found}`)
      found++
    }
    this.check(found >= this.lsns.length, `${when}: ${found} records of ${this.lsns.length}`)
  }
}

/** ENOSPC is a coded error; reads go on, and appends, too, once there is room again. */
export async function fullDisk(engine: RealEngine): Promise<Outcome> {
  const mounted = mountFresh('ext4', MOUNT_MIB)
  if ('reason' in mounted) return mounted
  try {
    const ballast = join(mounted.at, 'ballast')
    writeFileSync(ballast, Buffer.alloc((MOUNT_MIB / 2) * MIB))
    const client = new Client(mounted, engine)
    const log = await client.open()
    const refused = await client.append(log, MOST_RECORDS)
    client.check(refused === 'ERR_RIOLOG_NO_SPACE', `a full disk was told as ${refused}`)
    client.check(client.lsns.length > 100, `${client.lsns.length} records fitted`)
    await client.checkRecords(log, 'on a full disk')
    const reader = await client.open(true)
    const last = await reader.read(client.lsns[0])
    client.check(readStamp(last)?.id === 0, 'a reader beside it reads')
    await reader.close()
    const before = client.lsns.length
    rmSync(ballast)
    client.check((await client.append(log, 200)) === undefined, 'appends go on with room again')
    client.check(client.lsns.length === before + 200, 'all of them are acknowledged')
    await client.checkRecords(log, 'with room again')
    await log.close()
    // And opening one on a disk that is full to the last block: reading has to work at least.
    fill(ballast, mounted.at)
    const again = await client.open(true)
    await client.checkRecords(again, 'opened on a full disk')
    await again.close()
    return { wrong: client.wrong, acknowledged: client.lsns.length }
  } finally {
    mounted.unmount()
  }
}

function fill(path: string, at: string): void {
  const { bavail, bsize } = statfsSync(at)
  writeFileSync(path, Buffer.alloc(Math.max(0, (bavail - 8) * bsize)))
}

/** After an error ext4 refuses every write (errors=remount-ro): nothing acknowledged is lost by it. */
export async function readOnlyDisk(engine: RealEngine): Promise<Outcome> {
  const mounted = mountFresh('ext4', MOUNT_MIB, 'noatime,errors=remount-ro')
  if ('reason' in mounted) return mounted
  try {
    const client = new Client(mounted, engine)
    const log = await client.open()
    await client.append(log, 100)
    try {
      breakFileSystem(mounted.at)
    } catch (error) {
      await log.close()
      return { reason: `no way to make ext4 fail: ${(error as Error).message}` }
    }
    const refused = await client.append(log, MOST_RECORDS)
    client.check(refused === 'ERR_RIOLOG_POISONED', `a read-only disk was told as ${refused}`)
    for (const lsn of client.lsns) await log.read(lsn)
    const closed = await log.close().catch((error: unknown) => error)
    client.check(closed instanceof RiologError, `closed with ${String(closed)}`)
    const opened = await client.open().catch((error: unknown) => error)
    client.check(opened instanceof RiologError, `opened for writing with ${String(opened)}`)
    const reader = await client.open(true)
    client.check(reader.durableLsn > client.lsns[0], 'a reader opens it')
    await reader.close()
    mounted.again()
    const again = await client.open()
    await client.checkRecords(again, 'after a mount', true)
    await again.close()
    return { wrong: client.wrong, acknowledged: client.lsns.length }
  } finally {
    mounted.unmount()
  }
}

/** The kernel's own way to try it out: it does what it does upon damage that it finds. */
function breakFileSystem(at: string): void {
  const line = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find(mount => mount.split(' ')[1] === at)
  const device = line!.split(' ')[0].replace('/dev/', '')
  writeFileSync(`/sys/fs/ext4/${device}/trigger_fs_error`, 'tried out')
}
