/**
 * Builds the native part for machines without a compiler, into prebuilds/<platform>/riolog.node, which
 * `npm pack` takes along:
 *
 *   npm run build:prebuilds                    all platforms, with zig (0.11 or newer, as `zig` or $ZIG),
 *                                              or this machine's own with its own compiler
 *   npm run build:prebuilds -- linux-x64 …     some of them
 *   npm run build:prebuilds -- --run 'linux-arm64=qemu-aarch64 -L /usr/aarch64-linux-gnu …/bin/node'
 *                                              tries the log in that Node, too
 *
 * (Not named prebuild: npm would run that before every `npm run build`.)
 *
 * Each is looked at (what it needs from the system), and tried as far as this machine can run it: the tests
 * of native/core, and a log in a Node.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const BUILDS = join(ROOT, 'build-prebuild')

/** Node's own Linux binaries need glibc 2.28, so every glibc under a supported Node has that. */
const TARGETS = {
  'linux-x64': { zig: 'x86_64-linux-gnu.2.28', arch: 'x64' },
  'linux-arm64': { zig: 'aarch64-linux-gnu.2.28', arch: 'arm64' },
  'linux-x64-musl': { zig: 'x86_64-linux-musl', arch: 'x64' },
  'linux-arm64-musl': { zig: 'aarch64-linux-musl', arch: 'arm64' },
}
/** Libraries that are there wherever Node is. */
const SYSTEM_LIBRARIES = /^(libc|libm|libdl|librt|libpthread|ld-linux-[\w-]+)\.so(\.\d+)?$/

const { values: options, positionals } = parseArgs({
  options: { run: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
})
const nodes = new Map(options.run.map(text => splitOnce(text, '=')))
nodes.set(nameOfThisMachine(), process.execPath)

const zig = findZig()
const names = positionals.length > 0 ? positionals : zig ? Object.keys(TARGETS) : [hostOrStop()]
for (const name of names) {
  if (TARGETS[name] === undefined) {
    stop(`there is no platform ${name}; there are ${Object.keys(TARGETS).join(', ')}`)
  }
}
// The log is tried through the built library.
run(process.execPath, [join(ROOT, 'scripts', 'build-typescript.mjs')])
let failed = false
for (const name of names) {
  const file = build(name)
  const findings = [...looksOf(file, name), coreTests(name), logTest(name, file)]
  failed ||= findings.some(finding => finding.startsWith('FAILED'))
  const bytes = readFileSync(file)
  console.log(`${name}: ${(bytes.length / 1024).toFixed(0)} KiB`)
  console.log(`  sha256 ${createHash('sha256').update(bytes).digest('hex')}`)
  for (const finding of findings) console.log(`  ${finding}`)
}
if (failed) process.exitCode = 1

function build(name) {
  const out = join(BUILDS, name)
  rmSync(out, { recursive: true, force: true })
  const env = { ...process.env }
  if (zig) env.CXX = `${zig} c++ -target ${TARGETS[name].zig}`
  else if (name !== nameOfThisMachine()) stop(`${name} cannot be built here without zig`)
  const cmakeJs = join(ROOT, 'node_modules', '.bin', 'cmake-js')
  const args = ['compile', '--silent', '--out', out, '--arch', TARGETS[name].arch]
  run(cmakeJs, [...args, '--CDRIOLOG_PREBUILD=ON'], env)
  run('cmake', ['--build', out, '--target', 'riolog_core_test'], env)
  const folder = join(ROOT, 'prebuilds', name)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'riolog.node')
  copyFileSync(join(out, 'Release', 'riolog.node'), file)
  return file
}

/** What a dynamic linker will ask for, by readelf, which reads the binaries of every CPU. */
function* looksOf(file, name) {
  const { status, stdout } = spawnSync('readelf', ['--wide', '-d', '--dyn-syms', file], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  })
  if (status !== 0) return yield 'not looked at: there is no readelf'
  const libraries = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(match => match[1])
  const strange = libraries.filter(library => !SYSTEM_LIBRARIES.test(library))
  if (strange.length > 0) yield `FAILED: it needs ${strange.join(', ')}`
  else yield `needs ${libraries.join(', ')}`
  if (!/\bNODELETE\b/.test(stdout)) yield 'FAILED: it can be unloaded (-z nodelete)'
  const versions = [...stdout.matchAll(/@+GLIBC_([\d.]+)/g)].map(match => match[1])
  const newest = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  if (newest !== undefined) yield `needs glibc ${newest} or newer`
  if (name.endsWith('-musl') && newest !== undefined) yield 'FAILED: musl has no such symbols'
}

function coreTests(name) {
  const runner = runnerOf(name)
  if (runner === undefined) return 'tests of native/core: not run, this machine cannot'
  const [command, ...args] = [...runner, join(BUILDS, name, 'riolog_core_test')]
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  const count = word => stdout.match(new RegExp(`^${word} `, 'gm'))?.length ?? 0
  const [, checksum] = /^# crc32c runs as (.*)$/m.exec(stdout) ?? []
  if (status !== 0) return `FAILED: tests of native/core: ${stdout}${stderr}`
  return `tests of native/core: ${count('ok')} passed, ${count('skip')} skipped (CRC32C: ${checksum})`
}

/** What stands before the name of a program for it to run here; undefined when nothing will do. */
function runnerOf(name) {
  if (process.platform !== 'linux') return undefined
  const { arch } = TARGETS[name]
  // What zig links for musl is static, and runs on every Linux.
  if (arch === process.arch && (name === nameOfThisMachine() || name.endsWith('-musl'))) return []
  if (arch !== 'arm64') return undefined
  const emulator = ['qemu-aarch64', 'qemu-aarch64-static'].find(name => isThere(name))
  if (emulator === undefined) return undefined
  if (name.endsWith('-musl')) return [emulator]
  const libraries = '/usr/aarch64-linux-gnu'
  return existsSync(libraries) ? [emulator, '-L', libraries] : undefined
}

function logTest(name, file) {
  const node = nodes.get(name)
  if (node === undefined) return 'a log in Node: not tried, there is no such Node here'
  const [command, ...args] = node.split(' ')
  const script = join(ROOT, 'scripts', 'try-prebuild.mjs')
  const env = { ...process.env, RIOLOG_ADDON: file }
  const { status, stdout, stderr } = spawnSync(command, [...args, script], {
    encoding: 'utf8',
    env,
  })
  return status === 0 ? `a log in Node: ${stdout.trim()}` : `FAILED: a log in Node: ${stderr}`
}

function findZig() {
  const command = process.env.ZIG || 'zig'
  return isThere(command, 'version') ? command : undefined
}

function isThere(command, argument = '--version') {
  return spawnSync(command, [argument], { stdio: 'ignore' }).status === 0
}

function nameOfThisMachine() {
  const isMusl =
    process.platform === 'linux' &&
    process.report.getReport().header.glibcVersionRuntime === undefined
  return `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`
}

function hostOrStop() {
  const name = nameOfThisMachine()
  if (TARGETS[name] === undefined) stop(`${name} is not a platform that prebuilds are made for`)
  return name
}

function splitOnce(text, separator) {
  const at = text.indexOf(separator)
  if (at < 0) stop(`--run takes PLATFORM${separator}COMMAND`)
  return [text.slice(0, at), text.slice(at + 1)]
}

function run(command, args, env = process.env) {
  const { status, error } = spawnSync(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    cwd: ROOT,
    env,
  })
  if (status !== 0)
    stop(`"${[command, ...args].join(' ')}" failed${error ? ` (${error.message})` : ''}`)
}

function stop(message) {
  console.error(`prebuild: ${message}`)
  process.exit(1)
}
