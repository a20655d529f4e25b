// Runs the native code under AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer: first
// the tests of native/core without Node, then tests that load the addon into Node.
//
//   node scripts/sanitize.mjs                                  test/ring and test/log
//   node scripts/sanitize.mjs test/disk test/ring/ring.test.ts these folders and files instead
//
// Any report of a sanitizer, or any failing test, makes it fail. It builds into build-asan.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const out = join(root, 'build-asan')
const reports = join(out, 'reports')

const UBSAN_OPTIONS = 'print_stacktrace=1:halt_on_error=1'

function run(command, args, env = {}, stdio = 'inherit') {
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (result.error) throw result.error
  return result
}

function mustRun(command, args, env) {
  const { status, signal } = run(command, args, env)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed (${signal ?? status})`)
}

/** One build directory for both: cmake-js knows where the headers of Node-API are. */
function build() {
  const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json')
  const cmakeJs = join(
    dirname(manifest),
    JSON.parse(readFileSync(manifest, 'utf8')).bin['cmake-js'],
  )
  const args = ['compile', '--silent', '--out', out, '--CDRIOLOG_SANITIZE=ON']
  mustRun(process.execPath, [cmakeJs, ...args])
  const jobs = String(availableParallelism())
  mustRun('cmake', ['--build', out, '--target', 'riolog_core_test', '--parallel', jobs])
}

/** The runtime has to be in the process before an instrumented library is loaded into it. */
function runtimeLibrary() {
  const cache = readFileSync(join(out, 'CMakeCache.txt'), 'utf8')
  const compiler = /^CMAKE_CXX_COMPILER:[^=]*=(.*)$/m.exec(cache)?.[1] ?? 'c++'
  const { stdout } = run(compiler, ['-print-file-name=libasan.so'], {}, 'pipe')
  const library = stdout.trim()
  if (!existsSync(library)) throw new Error(`${compiler} has no libasan.so: use gcc`)
  return library
}

function testFiles(args) {
  const places = args.length > 0 ? args : ['test/ring', 'test/log']
  const files = []
  for (const place of places.map(name => resolve(root, name))) {
    if (!existsSync(place)) {
      if (args.length > 0) throw new Error(`there is no ${place}`)
      continue
    }
    if (statSync(place).isFile()) files.push(place)
    else for (const name of readdirSync(place)) files.push(join(place, name))
  }
  return files.filter(name => name.endsWith('.test.ts')).sort()
}

/** Node is full of memory that it never frees, so leaks are looked for in the first part only. */
function runUnderNode(file, preload) {
  const started = Date.now()
  const { status, signal, stdout, stderr } = run(
    process.execPath,
    ['--import=tsx', file],
    {
      LD_PRELOAD: preload,
      RIOLOG_ADDON: join(out, 'Release', 'riolog.node'),
      ASAN_OPTIONS: `detect_leaks=0:log_path=${join(reports, 'asan')}`,
      UBSAN_OPTIONS: `${UBSAN_OPTIONS}:log_path=${join(reports, 'ubsan')}`,
      TAP_TIMEOUT: '600',
    },
    'pipe',
  )
  const seconds = ((Date.now() - started) / 1000).toFixed(1)
  const good = status === 0
  console.log(`${good ? 'ok' : 'not ok'} ${relative(root, file)} (${seconds} s)`)
  if (!good) console.log(`${stdout}\n${stderr}\nended with ${signal ?? status}`)
  return good
}

function showReports() {
  const files = readdirSync(reports)
  for (const name of files) console.log(`--- ${name}\n${readFileSync(join(reports, name), 'utf8')}`)
  return files.length
}

build()
mustRun(join(out, 'riolog_core_test'), [], { ASAN_OPTIONS: 'detect_leaks=1', UBSAN_OPTIONS })
rmSync(reports, { recursive: true, force: true })
mkdirSync(reports)
const preload = runtimeLibrary()
const failed = testFiles(process.argv.slice(2)).filter(file => !runUnderNode(file, preload))
const reported = showReports()
if (failed.length > 0 || reported > 0) {
  console.error(`sanitize: ${failed.length} test files failed, ${reported} reports`)
  process.exitCode = 1
} else {
  console.log('sanitize: no report')
}
