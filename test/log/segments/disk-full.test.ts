/** A real file system that is full: a small tmpfs, and ext4 in a small file. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log, RiologError } from '../../../src/index.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'

const MIB = 1024 * 1024

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: 'pipe' })
}

type Mount = (directory: string, at: string) => void

const FILE_SYSTEMS: Record<string, Mount> = {
  tmpfs: (_, at) => run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', at),
  ext4: (directory, at) => {
    const image = join(directory, 'image')
    writeFileSync(image, Buffer.alloc(16 * MIB))
    run('mkfs.ext4', '-q', '-F', image)
    run('mount', '-o', 'loop', image, at)
  },
}

/** The mount point, or why there is none: mounting needs root, and the tools. */
function mountSmall(t: Test, mount: Mount): { at: string } | { reason: string } {
  const directory = temporaryDirectory(t)
  const at = join(directory, 'mounted')
  mkdirSync(at)
  try {
    mount(directory, at)
  } catch (error) {
    return { reason: `cannot mount: ${(error as Error).message.split('\n')[0]}` }
  }
  t.teardown(() => run('umount', at))
  return { at }
}

for (const [name, mount] of Object.entries(FILE_SYSTEMS)) {
  onEachEngine(t, `a full ${name}`, async (t, engine) => {
    const mounted = mountSmall(t, mount)
    if ('reason' in mounted) return void t.pass('needs a small mount', { skip: mounted.reason })
    const directory = join(mounted.at, 'log')
    const log = await Log.open(directory, { engine, segmentSize: 4 * MIB })
    const lsns: number[] = []
    let refused: unknown
    while (refused === undefined && lsns.length < 10_000) {
      try {
        lsns.push(await log.appendDurable(payloadOf(lsns.length, 20_000)))
      } catch (error) {
        refused = error
      }
    }
    t.ok(refused instanceof RiologError)
    t.equal((refused as RiologError).code, 'ERR_RIOLOG_NO_SPACE')
    t.ok(lsns.length > 100, `${lsns.length} records were acknowledged before`)
    t.ok((await log.read(lsns[0])).equals(payloadOf(0, 20_000)), 'reads go on')
    await log.close()
    const again = await Log.open(directory, { engine, readOnly: true })
    let found = 0
    for await (const { lsn, data } of again.scan()) {
      if (lsn !== lsns[found] || !data.equals(payloadOf(found, 20_000))) t.fail(`record ${found}`)
      found++
    }
    t.equal(found, lsns.length, 'nothing acknowledged is lost')
    await again.close()
  })
}
