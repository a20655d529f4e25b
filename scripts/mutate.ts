/**
 * Takes safeguards out of a copy of the sources, one by one, and shows that a test fails each time.
 *
 *   npm run test:mutations -- ring [--only NAME] [--rule N] [--docs]
 *
 * With --docs the table of `crash` goes into docs/CRASH.md, between its markers.
 *
 * Exit code 1 when a mutation survives, does not apply any more, or does not compile.
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Mutation } from '../test/mutations/mutation.ts'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const COPIED = [
  'src',
  'test',
  'native',
  'examples',
  'package.json',
  'tsconfig.json',
  'CMakeLists.txt',
  'package-root.cjs',
]
/** A test that hangs without its safeguard has failed. */
const LIMIT_MS = 120_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    rule: { type: 'string' },
    docs: { type: 'boolean', default: false },
  },
})
const [table = 'ring'] = positionals
if (!/^[a-z-]+$/.test(table)) throw new Error(`no table of mutations ${table}`)
const { MUTATIONS } = (await import(`../test/mutations/${table}.ts`)) as {
  MUTATIONS: readonly Mutation[]
}
const wanted = MUTATIONS.filter(
  ({ name, rule }) =>
    (values.only === undefined || name === values.only) &&
    (values.rule === undefined || String(rule) === values.rule),
)
if (wanted.length === 0) throw new Error('no such mutation')

const copy = mkdtempSync(join(tmpdir(), 'riolog-mutate-'))
// Some tests run a program as another user.
chmodSync(copy, 0o755)
process.on('exit', () => rmSync(copy, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
for (const name of COPIED) cpSync(join(PACKAGE, name), join(copy, name), { recursive: true })
symlinkSync(join(PACKAGE, 'node_modules'), join(copy, 'node_modules'))

function build(): boolean {
  const made = spawnSync('npx', ['cmake-js', 'compile', '--silent', '--out', 'build'], {
    cwd: copy,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return made.status === 0
}

/** Undefined when it passed, else why it failed: its first failing assertion, a signal, a timeout. */
function failureOf(test: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--import=tsx', test], {
      cwd: copy,
      detached: true, // so that what it has started is killed with it
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, TAP: '1', TAP_TIMEOUT: '100' },
    })
    let output = ''
    let late = false
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
    const timer = setTimeout(() => {
      late = true
      process.kill(-child.pid!, 'SIGKILL')
    }, LIMIT_MS)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (late) resolve('it hangs')
      else if (signal !== null) resolve(signal)
      else if (code === 0) resolve(undefined)
      else resolve(/^\s*not ok \d+ - (.*?)( # time.*)?$/m.exec(output)?.[1] ?? `exit code ${code}`)
    })
  })
}

/** Cuts the power under the copy's log, until something is wrong. */
function huntedBy({ faults, runs }: NonNullable<Mutation['hunt']>): string | undefined {
  const command = ['crash', '--seed', '1', '--runs', String(runs), '--faults', faults]
  const args = ['--import=tsx', 'src/cli/main.ts', ...command, '--no-shrink', '--json']
  const { stdout } = spawnSync(process.execPath, args, {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: 4 * LIMIT_MS,
    killSignal: 'SIGKILL',
  })
  const line = stdout.trim().split('\n').at(-1) ?? ''
  if (line === '') return 'it hangs or dies'
  const { ok, runs: ran, message } = JSON.parse(line)
  return ok ? undefined : `${ran + 1} runs: ${String(message).split(/\s+seed \d+, after/)[0]}`
}

async function killerOf(mutation: Mutation): Promise<string | undefined> {
  const { hunt, tests, elsewhere } = mutation
  if (hunt === undefined) return firstFailureOf(tests)
  const found = huntedBy(hunt)
  if (found !== undefined) return found
  const failure = await firstFailureOf(elsewhere ?? [])
  return failure && `not by ${hunt.runs} crashes, but by ${failure}`
}

async function firstFailureOf(tests: readonly string[]): Promise<string | undefined> {
  for (const test of tests) {
    const failure = await failureOf(test)
    if (failure !== undefined) return `${test}: ${failure}`
  }
  return undefined
}

function writeTable(lines: readonly string[]): void {
  const path = join(PACKAGE, 'docs/CRASH.md')
  const [before, rest] = readFileSync(path, 'utf8').split('<!-- mutations -->\n')
  const after = rest.split('<!-- /mutations -->')[1]
  const keyOf = (row: string) => row.split(' | ').slice(0, 2).join()
  // Those that were not run now stay as they were; those that are no longer there go.
  const kept = rest.split('<!-- /mutations -->')[0].split('\n').slice(2)
  const rowOf = new Map([...kept, ...lines].map(row => [keyOf(row), row]))
  const all = MUTATIONS.flatMap(({ rule, name }) => rowOf.get(`| ${rule},${name}`) ?? [])
  const head = '| safeguard | taken out | the harness finds it after |\n|---|---|---|\n'
  const table = `${head}${all.join('\n')}\n`
  writeFileSync(path, `${before}<!-- mutations -->\n${table}<!-- /mutations -->${after}`)
}

if (!build()) throw new Error('the copy does not build')
for (const test of new Set(wanted.flatMap(({ tests }) => tests))) {
  const failure = await failureOf(test)
  if (failure !== undefined)
    throw new Error(`${test} fails before anything is taken out: ${failure}`)
}
let missed = 0
const rows: string[] = []
for (const mutation of wanted) {
  const { rule, name, file, from, to } = mutation
  const path = join(copy, file)
  const source = readFileSync(path, 'utf8')
  const native = file.startsWith('native/')
  let outcome: string
  if (!source.includes(from)) {
    outcome = 'NOT THERE ANY MORE'
  } else {
    writeFileSync(
      path,
      source.replace(from, () => to),
    )
    if (native && !build()) {
      outcome = 'DOES NOT COMPILE'
    } else {
      const killer = await killerOf(mutation)
      if (killer !== undefined) outcome = killer
      else outcome = mutation.equivalent === undefined ? 'SURVIVED' : `same: ${mutation.equivalent}`
    }
    writeFileSync(path, source)
    if (native) build()
  }
  if (/^[A-Z ]+$/.test(outcome)) missed++
  rows.push(`| ${rule} | ${name} | ${outcome} |`)
  console.log(rows.at(-1))
}
if (values.docs) writeTable(rows)
console.log(`${wanted.length} mutations, ${missed} missed`)
if (missed > 0) process.exitCode = 1
