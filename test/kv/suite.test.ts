/**
 * The store passes the test suite that abstract-level has for whoever implements it: on a real disk with
 * values in memory, and on a simulated one with each value read from the log.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const CHILD = fileURLToPath(new URL('suite-child.ts', import.meta.url))

interface Result {
  readonly stdout: string
  readonly stderr: string
}

function runSuite(...args: string[]): Promise<Result> {
  const command = ['--import=tsx', CHILD, ...args]
  const options = { maxBuffer: 64 << 20 }
  return new Promise(resolve => {
    execFile(process.execPath, command, options, (_, stdout, stderr) => resolve({ stdout, stderr }))
  })
}

for (const [largeBytes, disk] of [
  ['4096', 'real'],
  ['1', 'simulated'],
]) {
  t.test(`abstract-level's suite (${disk} disk, values from ${largeBytes} in the log)`, async t => {
    const { stdout, stderr } = await runSuite(largeBytes, disk)
    const lines = stdout.split('\n')
    const count = (start: string) => lines.filter(line => line.startsWith(start)).length
    t.equal(count('not ok '), 0, lines.filter(line => line.startsWith('not ok ')).join('; '))
    // The plan comes last: a suite that ended early has none.
    t.match(stdout, new RegExp(`^1\\.\\.${count('ok ')}$`, 'm'), stderr)
    t.ok(count('ok ') > 4000, `${count('ok ')} assertions`)
  })
}
