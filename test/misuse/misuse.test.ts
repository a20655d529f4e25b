/**
 * Random misuse of the ring (program.ts), in processes of their own. RIOLOG_RUNS is the number of
 * steps, RIOLOG_SEED makes a failure come again, and RIOLOG_SHRINK=1 looks for a smaller program.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { withRing } from '../ring/support.ts'
import { chooseSeed } from '../support/random.ts'

const STEPS_EACH = 4000
const steps = Number(process.env.RIOLOG_RUNS ?? STEPS_EACH)
const program = fileURLToPath(new URL('./program.ts', import.meta.url))

/** The environment is passed on: a sanitizer's runtime reaches the program through it. */
function run(seed: number, steps: number): Promise<{ ended: unknown; output: string }> {
  const args = ['--expose-gc', '--import=tsx', program, `${seed}`, `${steps}`]
  const child = spawn(process.execPath, args, { timeout: 1_800_000, killSignal: 'SIGKILL' })
  let output = ''
  child.stdout.on('data', data => (output += data))
  child.stderr.on('data', data => (output += data))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ended: signal ?? code, output }))
  })
}

withRing(t, `${steps} steps of misuse leave everything in order`, async t => {
  const first = chooseSeed()
  t.comment(`RIOLOG_SEED=${first} RIOLOG_RUNS=${steps}`)
  for (let done = 0; done < steps; done += STEPS_EACH) {
    const seed = first + done / STEPS_EACH
    const { ended, output } = await run(seed, Math.min(STEPS_EACH, steps - done))
    t.equal(ended, 0, `RIOLOG_SEED=${seed}`)
    t.comment(ended === 0 ? output.trim().split('\n').at(-1) : output)
  }
})
