#!/usr/bin/env node
/**
 * Makes a fresh clone ready to start and to test, and does nothing when it is: `npm start` and
 * `npm test` run it first. It uses what comes with Node only, since nothing else may be there yet.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OLDEST_NODE = [20, 15]
/**
 * What each build was made from. Times would not do: a build that changes nothing sets none. Not in
 * build/, which cmake-js empties when it fails.
 */
const STAMPS = join(ROOT, 'node_modules', '.cache', 'riolog', 'setup.json')

const BUILDS = [
  {
    name: 'native',
    inputs: ['native', 'CMakeLists.txt', 'package.json', 'package-lock.json'],
    output: 'build/Release/riolog.node',
    command: ['npm', 'run', 'build:native'],
    before: ensureToolchain,
  },
  {
    name: 'typescript',
    inputs: [
      'src',
      'package-root.cjs',
      'package-root.d.cts',
      'scripts/build-typescript.mjs',
      'tsconfig.json',
      'tsconfig.build.json',
      'tsconfig.command.json',
      'package-lock.json',
    ],
    output: 'dist/index.mjs',
    command: ['npm', 'run', 'build:ts'],
  },
  {
    // tap compiles its plugins into itself; as installed it has the one that .taprc leaves out.
    name: 'tap',
    inputs: ['.taprc', 'package-lock.json'],
    output: 'node_modules/@tapjs/test/test-built/dist',
    command: ['npx', '--no-install', 'tap', 'build'],
  },
]

process.chdir(ROOT)
checkNode()
installDependencies()
for (const build of BUILDS) bringUpToDate(build)

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  stop(`riolog needs Node ${OLDEST_NODE.join('.')} or newer, this is ${process.versions.node}`)
}

function installDependencies() {
  // npm writes this file when it has installed everything.
  const installed = 'node_modules/.package-lock.json'
  if (existsSync(installed) && modified(installed) >= modified('package-lock.json')) return
  // Whatever NODE_ENV or npm's settings say: building and testing takes the dev dependencies.
  run(['npm', 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'])
}

function bringUpToDate({ name, inputs, output, command, before }) {
  const fingerprint = fingerprintOf(inputs)
  if (existsSync(output) && readStamps()[name] === fingerprint) return
  before?.()
  run(command)
  mkdirSync(dirname(STAMPS), { recursive: true })
  const stamps = { ...readStamps(), [name]: fingerprint }
  writeFileSync(STAMPS, `${JSON.stringify(stamps, undefined, 2)}\n`)
}

function readStamps() {
  try {
    return JSON.parse(readFileSync(STAMPS, 'utf8'))
  } catch {
    return {}
  }
}

function fingerprintOf(inputs) {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`)
  for (const file of inputs.flatMap(filesIn)) hash.update(`\0${file}\0`).update(readFileSync(file))
  return hash.digest('hex')
}

function filesIn(path) {
  if (!statSync(path).isDirectory()) return [path]
  const names = readdirSync(path).sort()
  return names.flatMap(name => filesIn(join(path, name)))
}

function modified(path) {
  return statSync(path).mtimeMs
}

/** Each tool that a native build takes: the commands of which one has to be there, and packages. */
function toolchain() {
  const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)
  return [
    { commands: ['cmake'], apt: 'cmake', dnf: 'cmake', apk: 'cmake', brew: 'cmake' },
    {
      commands: compilers,
      apt: 'g++',
      dnf: 'gcc-c++',
      apk: 'g++ linux-headers',
      brew: 'llvm',
    },
    { commands: ['ninja', 'make', 'gmake'], apt: 'make', dnf: 'make', apk: 'make', brew: 'make' },
  ]
}

function missingTools() {
  return toolchain().filter(({ commands }) => !commands.some(isThere))
}

function isThere(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0
}

function ensureToolchain() {
  if (missingTools().length === 0) return
  if (existsSync('/etc/debian_version') && process.getuid?.() === 0) {
    process.env.DEBIAN_FRONTEND = 'noninteractive'
    const packages = missingTools().map(tool => tool.apt)
    run(['apt-get', 'update'])
    run(['apt-get', 'install', '-y', '--no-install-recommends', ...packages])
  }
  const missing = missingTools()
  if (missing.length === 0) return
  const names = missing.map(({ commands }) => commands.join(' or ')).join(', ')
  stop(`riolog's native part cannot be built without ${names}: ${remedyFor(missing)}`)
}

function remedyFor(missing) {
  const packages = manager => missing.map(tool => tool[manager]).join(' ')
  if (process.platform === 'darwin') return `brew install ${packages('brew')}`
  if (existsSync('/etc/debian_version')) return `sudo apt-get install -y ${packages('apt')}`
  if (existsSync('/etc/alpine-release')) return `apk add ${packages('apk')}`
  if (existsSync('/etc/redhat-release')) return `sudo dnf install -y ${packages('dnf')}`
  return 'install them with the package manager of this system'
}

function run([command, ...args]) {
  const line = [command, ...args].join(' ')
  console.error(`setup: ${line}`)
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) stop(`"${line}" failed${error ? ` (${error.message})` : ''}`)
}

function stop(message) {
  console.error(`setup: ${message}`)
  process.exit(1)
}
