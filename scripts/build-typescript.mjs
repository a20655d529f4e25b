/**
 * Builds dist/: the library as CommonJS with ES modules around it that pass its names on, and the command as
 * ES modules. So there is one instance of everything, whoever imports and whoever requires it, on each Node
 * that riolog runs on.
 *
 * With --if-possible it does nothing where there is no compiler, as behind `npm ci --omit=dev`.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DIST = join(ROOT, 'dist')
const ENTRIES = ['index', 'ring/index', 'crash/index']
/** The compiler makes ES modules of the library, too, where the command is to be one. */
const MODULES = join(ROOT, 'node_modules', '.cache', 'riolog', 'modules')

const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')

const require = createRequire(import.meta.url)

if (process.argv.includes('--if-possible') && !existsSync(TSC)) process.exit(0)
rmSync(DIST, { recursive: true, force: true })
rmSync(MODULES, { recursive: true, force: true })
compile('tsconfig.build.json', DIST)
compile('tsconfig.command.json', MODULES)
cpSync(join(MODULES, 'cli'), join(DIST, 'cli'), { recursive: true })
markType(DIST, 'commonjs')
markType(join(DIST, 'cli'), 'module')
nameOutputsInDeclarations()
for (const entry of ENTRIES) wrap(entry)

function compile(project, outDir) {
  const args = [TSC, '-p', join(ROOT, project), '--outDir', outDir]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

function markType(folder, type) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ type })}\n`)
}

/** The compiler leaves the sources' names in the declarations, which some tools cannot follow. */
function nameOutputsInDeclarations() {
  for (const name of readdirSync(DIST, { recursive: true })) {
    if (!name.endsWith('.d.ts')) continue
    const path = join(DIST, name)
    const text = readFileSync(path, 'utf8')
    writeFileSync(path, text.replace(/(['"]\.{1,2}\/[^'"\n]*)\.ts(?=['"])/g, '$1.js'))
  }
}

/** Names one by one: `export *` would pass on those that Node adds to every CommonJS module, too. */
function wrap(entry) {
  const file = `./${entry.split('/').at(-1)}.js`
  const names = Object.keys(require(join(DIST, `${entry}.js`))).sort()
  writeFileSync(join(DIST, `${entry}.mjs`), `export { ${names.join(', ')} } from '${file}'\n`)
  writeFileSync(join(DIST, `${entry}.d.mts`), `export * from '${file}'\n`)
}
