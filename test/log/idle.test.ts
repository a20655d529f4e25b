/** An open log that nobody uses costs nothing: no thread of the process wakes up for it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
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
