// Runs the test suite with io_uring turned off (kernel.io_uring_disabled=2), and puts the setting back.
// Needs root, and Linux 6.6 or newer.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const SYSCTL = '/proc/sys/kernel/io_uring_disabled'

let before
try {
  before = readFileSync(SYSCTL, 'utf8')
  writeFileSync(SYSCTL, '2')
} catch (error) {
  console.error(`cannot turn io_uring off: ${error.message}`)
  process.exit(1)
}
// A signal must not leave it off: the handlers let the child end, and then it is put back.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {})
try {
  const { status } = spawnSync('npx', ['tap', ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exitCode = status ?? 1
} finally {
  writeFileSync(SYSCTL, before.trim())
}
