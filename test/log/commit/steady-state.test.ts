/**
 * Appending changes the bytes of a file and nothing else: no length, no extent. So an fdatasync has no
 * metadata to commit.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log } from '../../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'

const APPENDS = 10_000

/** Where a file lies on the disk, and in which state (filefrag(8)); '' where nobody can tell. */
function extentsOf(path: string): string {
  try {
    const told = execFileSync('filefrag', ['-v', path], { encoding: 'utf8', stdio: 'pipe' })
    return told.slice(told.indexOf('ext:'))
  } catch {
    return ''
  }
}

function filesOf(directory: string) {
  return readdirSync(directory)
    .sort()
    .map(name => {
      const path = join(directory, name)
      const { size, blocks, ino } = statSync(path)
      return { name, size, blocks, ino, extents: extentsOf(path) }
    })
}

onEachEngine(t, `${APPENDS} durable appends leave lengths and extents`, async (t, engine) => {
  const directory = temporaryDirectory(t)
  // Room for all of them: no rotation, which prepares files, comes between.
  const log = await Log.open(directory, { engine, maxBufferedBytes: 128 << 20, idleStampMs: 0 })
  // On to the segment after an opening's first, which is short, and its spare. Longer groups would be a stream, whose next
  // file may be allocated alone.
  const filling = Buffer.alloc(1 << 16)
  while (log.metrics().rotations < 1) await log.appendDurable(filling)
  for (let i = 0; i < 560; i++) await log.appendDurable(filling)
  let before = filesOf(directory)
  for (;;) {
    await new Promise(resolve => setTimeout(resolve, 100))
    const now = filesOf(directory)
    if (JSON.stringify(now) === JSON.stringify(before)) break
    before = now // a spare is being prepared
  }
  const { rotations, groups } = log.metrics()
  const payload = Buffer.alloc(128)
  const caller = async () => {
    for (let i = 0; i < APPENDS / 4; i++) await log.appendDurable(payload)
  }
  await Promise.all([caller(), caller(), caller(), caller()])
  const metrics = log.metrics()
  t.ok(metrics.groups - groups >= APPENDS / 4)
  t.equal(metrics.rotations, rotations)
  t.same(filesOf(directory), before)
  t.notMatch(before.map(({ extents }) => extents).join(), /unwritten/)
  await log.close()
})
