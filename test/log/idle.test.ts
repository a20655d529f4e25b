/** An open log that nobody uses costs nothing: no thread of the process wakes up for it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { SYSTEM_CLOCK } from '../../src/disk/clock.ts'
import { IdleStamp } from '../../src/log/segments/idle-stamp.ts'
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
  const results: WeakRef<object>[] = []
  const stamp = new IdleStamp({
    clock: SYSTEM_CLOCK,
    idleMs: 1000,
    durableLsn: () => 1,
    stampedLsn: () => 0,
    stamp: async () => {
      const result = {}
      results.push(new WeakRef(result))
      return result
    },
  })
  for (let i = 0; i < 10; i++) {
    stamp.fellBehind()
    await stamp.settled()
  }
  // What a WeakRef was made of lives to the end of its turn (ECMAScript, 9.10.3 ClearKeptObjects).
  await new Promise(setImmediate)
  gc()
  // The last one or two may still be in somebody's hands.
  const held = results.slice(0, 8).filter(result => result.deref() !== undefined)
  t.equal(held.length, 0)
  stamp.stop()
})
