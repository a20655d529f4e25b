/**
 * What tools that know packages say of this one: `npm run check:package` for what `npm pack` would make,
 * or of a tarball that is there. Without a network.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'riolog-package-'))
let failed = false
try {
  const tarball = process.argv[2] ?? pack()
  if (tarball !== undefined) {
    run(tool('publint'), ['run', tarball, '--strict'])
    run(tool('attw'), [tarball, '--format', 'ascii'])
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
if (failed) process.exitCode = 1

function pack() {
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder]
  const stdout = run('npm', args, ['ignore', 'pipe', 'inherit'])
  if (failed) return undefined
  const [{ filename, files, unpackedSize }] = Object.values(JSON.parse(stdout))
  const prebuilt = files.map(({ path }) => path).filter(path => path.startsWith('prebuilds/'))
  console.log(`${filename}: ${files.length} files, ${(unpackedSize / 2 ** 20).toFixed(1)} MiB`)
  console.log(`prebuilt: ${prebuilt.join(', ') || 'nothing, see npm run build:prebuilds'}`)
  return join(folder, filename)
}

function tool(name) {
  return join(ROOT, 'node_modules', '.bin', name)
}

function run(command, args, stdio = ['ignore', 'inherit', 'inherit']) {
  const { status, error, stdout } = spawnSync(command, args, { cwd: ROOT, stdio, encoding: 'utf8' })
  if (error) console.error(`check:package: ${error.message}`)
  if (status !== 0) failed = true
  return stdout
}
