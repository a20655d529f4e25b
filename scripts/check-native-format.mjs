// Holds native/ to .clang-format, with the version that the npm package `clang-format` pins.
//
//   node scripts/check-native-format.mjs            names the files that differ, and fails
//   node scripts/check-native-format.mjs --write    rewrites them
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const { getNativeBinary } = createRequire(import.meta.url)('clang-format')

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && /\.(cpp|h)$/.test(entry.name))
    .map(entry => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

function formatted(file) {
  const { status, stdout, stderr, error } = spawnSync(getNativeBinary(), [file], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  if (status !== 0) throw new Error(`clang-format failed on ${file}: ${error ?? stderr}`)
  return stdout
}

const write = process.argv.includes('--write')
const different = []
for (const file of sources(join(root, 'native'))) {
  const now = readFileSync(file, 'utf8')
  const wanted = formatted(file)
  if (now === wanted) continue
  different.push(file.slice(root.length))
  if (write) writeFileSync(file, wanted)
}

if (different.length > 0) {
  const list = different.map(file => `  ${file}`).join('\n')
  if (write) console.log(`formatted:\n${list}`)
  else console.error(`not formatted (npm run format mends it):\n${list}`)
  if (!write) process.exitCode = 1
}
