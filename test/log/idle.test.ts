/** An open log that nobody uses costs nothing: no thread of the process wakes up for it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { SYSTEM_CLOCK } from '../../src/disk/clock.ts'
import { IdleStamp } from '../../src/log/idle-stamp.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'

const CHILD = fileURLToPath(new URL('children/idle.ts', import.meta.url))
/** Node itself has a thread that looks around now and then; a poll or a timer of ours would be many more. */
const MOST_SLEEPS = 20
/** A thread that spins takes a million. */
const MOST_CPU_US = 200_000

onEachEngine(t, 'an idle log sleeps', async (t, engine) => {
  if (process.platform !== 'linux') return void t.pass('needs /proc', { skip: 'no Linux' })
  const args = ['--import=tsx', CHILD, temporaryDirectory(t), engine]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { slept, cpuUs } = JSON.parse(stdout) as { slept: number; cpuUs: number }
  t.ok(slept <= MOST_SLEEPS, `${slept} times in a second`)
  t.ok(cpuUs <= MOST_CPU_US, `${cpuUs} us of CPU time`)
})

t.test('stamps that are done are forgotten', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const lsns = { durableLsn: () => 1, stampedLsn: () => 0 }
  const stamp = new IdleStamp({ clock: SYSTEM_CLOCK, idleMs: 1000, ...lsns, stamp: async () => {} })
  const usedAfter = async (stamps: number) => {
    for (let i = 0; i < stamps; i++) {
      stamp.fellBehind()
      await stamp.settled()
    }
    gc()
    return process.memoryUsage().heapUsed
  }
  const before = await usedAfter(1000)
  const grown = (await usedAfter(50_000)) - before
  t.ok(grown < 1_000_000, `${grown} bytes`)
  stamp.stop()
})
