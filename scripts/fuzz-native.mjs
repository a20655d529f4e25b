// Looks for bytes for which framing (native/core) does not keep its promises, with libFuzzer under
// AddressSanitizer and UndefinedBehaviorSanitizer, and prints what was covered.
//
//   node scripts/fuzz-native.mjs [--seconds 60] [--target verify|seal|slices|checksum] [--keep]
//
// Each target runs for so many seconds, from the corpus in test/fuzz/corpus and from what earlier runs
// have found (in build-fuzz). --keep makes a small corpus of all that and keeps it in test/fuzz/corpus,
// which `npm test` replays. An input that breaks a promise stays in build-fuzz and is named. Without
// clang it is skipped, naming what to install. Exit code 1 when a promise was broken.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const TARGETS = ['verify', 'seal', 'slices', 'checksum']
/** Longer inputs find nothing that these do not, and the corpus is to stay small. */
const MOST_BYTES = 2048
const KEPT_BYTES = 64 * 1024

const root = fileURLToPath(new URL('..', import.meta.url))
const out = join(root, 'build-fuzz')
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    target: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})
const seconds = Number(values.seconds)
if (!(seconds >= 1)) throw new Error('--seconds must be 1 or more')
const targets = TARGETS.filter(name => values.target === undefined || values.target === name)
if (targets.length === 0) throw new Error(`--target is one of ${TARGETS.join(', ')}`)

function run(command, args, env = {}, stdio = 'pipe') {
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 }
  return spawnSync(command, args, { ...options, stdio, env: { ...process.env, ...env } })
}

function mustRun(command, args, env) {
  const { status, stdout, stderr, error } = run(command, args, env)
  if (status === 0) return stdout
  throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}\n${error ?? ''}`)
}

const has = (command, ...args) => run(command, args).status === 0

/** Undefined when all is there. */
function whatIsMissing() {
  for (const command of ['cmake', 'clang++']) {
    if (!has(command, '--version'))
      return `${command} (on Debian and Ubuntu: apt-get install clang cmake)`
  }
  return undefined
}

function build() {
  const options = ['-DRIOLOG_FUZZ=ON', '-DCMAKE_BUILD_TYPE=RelWithDebInfo']
  mustRun('cmake', ['-S', root, '-B', out, '-DCMAKE_CXX_COMPILER=clang++', ...options])
  const names = targets.map(name => `fuzz_${name}`)
  mustRun('cmake', ['--build', out, '--parallel', '2', '--target', ...names])
}

const kept = target => join(root, 'test/fuzz/corpus', target)
const found = target => join(out, 'corpus', target)

/** What libFuzzer says at the end, or undefined after a promise was broken. */
function fuzz(target) {
  for (const folder of [kept(target), found(target)]) mkdirSync(folder, { recursive: true })
  const args = [
    `-max_total_time=${seconds}`,
    `-max_len=${MOST_BYTES}`,
    `-artifact_prefix=${join(out, `${target}-`)}`,
    '-print_final_stats=1',
    found(target),
    kept(target),
  ]
  const env = { LLVM_PROFILE_FILE: join(out, `${target}.profraw`) }
  const { status, stderr } = run(join(out, `fuzz_${target}`), args, env)
  if (status !== 0) {
    console.error(`${target}: BROKEN\n${stderr.split('\n').slice(-60).join('\n')}`)
    return undefined
  }
  const counts = [...stderr.matchAll(/cov: (\d+) ft: (\d+) corp: (\d+)/g)].at(-1) ?? []
  const runs = Number(/number_of_executed_units: (\d+)/.exec(stderr)?.[1])
  const [, edges, features, inputs] = counts.map(Number)
  return { runs, edges, features, inputs }
}

/** Lines and regions of framing.cpp and crc32c.cpp that were reached, by clang's coverage. */
function showCoverage(target) {
  if (!has('llvm-profdata', 'merge', '--help') || !has('llvm-cov', '--version')) {
    console.log(`${target}: no lines counted: llvm-profdata and llvm-cov are missing (llvm)`)
    return
  }
  const profile = join(out, `${target}.profdata`)
  mustRun('llvm-profdata', ['merge', '-o', profile, join(out, `${target}.profraw`)])
  const sources = ['framing.cpp', 'crc32c.cpp'].map(name => join(root, 'native/core', name))
  const report = mustRun('llvm-cov', [
    'export',
    '-summary-only',
    `-instr-profile=${profile}`,
    join(out, `fuzz_${target}`),
    ...sources,
  ])
  for (const { filename, summary } of JSON.parse(report).data[0].files) {
    const part = ({ covered, count }) => `${covered} of ${count}`
    const { lines, regions } = summary
    const name = relative(root, filename)
    console.log(`${target}: ${name}: ${part(lines)} lines, ${part(regions)} regions`)
  }
}

/** The shortest inputs first, as many as fit: each that libFuzzer's merge leaves reaches something new. */
function keep(target) {
  const merged = join(out, 'merged', target)
  rmSync(merged, { recursive: true, force: true })
  mkdirSync(merged, { recursive: true })
  const env = { LLVM_PROFILE_FILE: '/dev/null' }
  mustRun(join(out, `fuzz_${target}`), ['-merge=1', merged, kept(target), found(target)], env)
  rmSync(kept(target), { recursive: true, force: true })
  mkdirSync(kept(target), { recursive: true })
  let bytes = 0
  const inputs = readdirSync(merged)
    .map(name => ({ name, size: statSync(join(merged, name)).size }))
    .sort((a, b) => a.size - b.size)
    .filter(({ size }) => (bytes += size) <= KEPT_BYTES)
  for (const { name } of inputs) cpSync(join(merged, name), join(kept(target), name))
  const all = inputs.reduce((sum, { size }) => sum + size, 0)
  console.log(`${target}: kept ${inputs.length} inputs, ${all} bytes`)
}

const missing = whatIsMissing()
if (missing !== undefined) {
  console.log(`skipped: fuzzing native/core needs ${missing}`)
} else {
  build()
  for (const target of targets) {
    const outcome = fuzz(target)
    if (outcome === undefined) process.exitCode = 1
    else {
      const { runs, edges, features, inputs } = outcome
      console.log(`${target}: ${runs} runs, ${edges} edges, ${features} features, ${inputs} inputs`)
      showCoverage(target)
      if (values.keep) keep(target)
    }
  }
}
