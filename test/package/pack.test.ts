/** What people get by `npm install`: the tarball, installed into an empty project, and used in every way. */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { type Test, temporaryDirectory, whyNoRing } from '../support/engines.ts'
import { execute, Project, pack, type Ran, ROOT } from './project.ts'

const isMusl =
  process.platform === 'linux' &&
  (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header
    .glibcVersionRuntime === undefined
const PLATFORM = `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`

/** README's first block of code. */
const EXAMPLE = /^```ts\n([\s\S]*?)^```$/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))![1]

/** The same for `require`. */
function asCommonJs(program: string): string {
  const body = program.replace(/^import (\{.*\}) from ('.*')$/gm, 'const $1 = require($2)')
  return `(async () => {\n${body}\n})()`
}

const FILES = [
  /^(package\.json|LICENSE|README\.md|CMakeLists\.txt|package-root\.cjs)$/,
  /^dist\/([\w-]+\/)*[\w-]+(\.d)?\.m?[jt]s$/,
  /^dist\/(cli\/)?package\.json$/,
  /^native\/(core|napi)\/\w+\.(cpp|h)$/,
  /^docs\/(api\/)?[\w-]+\.(md|svg)$/,
  /^docs\/seccomp\/[\w-]+\.(mjs|json)$/,
  /^prebuilds\/linux-(x64|arm64)(-musl)?\/riolog\.node$/,
]

const folder = temporaryDirectory(t)
const tarball = await pack(folder)
const project = await Project.install(tarball, folder)
const packed = (readdirSync(project.riolog, { recursive: true }) as string[]).filter(name =>
  statSync(join(project.riolog, name)).isFile(),
)

t.test('the package has what it takes, and nothing else', async t => {
  const strange = packed.filter(name => !FILES.some(pattern => pattern.test(name)))
  t.same(strange, [])
  for (const name of ['dist/index.js', 'dist/index.mjs', 'dist/index.d.ts', 'dist/index.d.mts']) {
    t.ok(packed.includes(name), name)
  }
  t.ok(packed.includes('native/core/ring.cpp'), 'the sources of the native part')
  const here = packed.filter(name => readFileSync(join(project.riolog, name)).includes(ROOT))
  t.same(here, [], 'no paths of the machine that packed it')
  const { scripts } = JSON.parse(readFileSync(join(project.riolog, 'package.json'), 'utf8'))
  for (const name of ['preinstall', 'install', 'postinstall']) t.notOk(scripts[name], name)
})

t.test('publint and attw find nothing', async t => {
  const script = join(ROOT, 'scripts/check-package.mjs')
  const { code, stdout, stderr } = await execute(process.execPath, [script, tarball], ROOT)
  t.equal(code, 0, code === 0 ? 'nothing' : `${stdout}${stderr}`)
})

t.test('with a prebuilt native part', async t => {
  project.putPrebuild(PLATFORM)

  t.test('an ES module', async t => {
    provesTheExample(t, await project.run('example.mjs', EXAMPLE))
  })

  t.test('CommonJS', async t => {
    provesTheExample(t, await project.run('example.cjs', asCommonJs(EXAMPLE)))
  })

  t.test('a worker of either kind', async t => {
    const program = `
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
for (const name of ['example.mjs', 'example.cjs']) {
  await once(new Worker(new URL(name, import.meta.url)), 'exit')
  // The next one has a log of its own.
  ;(await import('node:fs')).rmSync('data', { recursive: true })
}`
    const { code, stdout, stderr } = await project.run('workers.mjs', program)
    t.equal(code, 0, stderr)
    t.equal(stdout.match(/^hello$/gm)?.length, 2, stdout)
  })

  t.test('each engine', async t => {
    for (const engine of ['threadpool', 'uring']) {
      const reason = engine === 'uring' ? await whyNoRing() : undefined
      if (reason !== undefined) {
        t.pass('needs io_uring', { skip: reason })
        continue
      }
      const program = EXAMPLE.replace("'data'", `'data', { engine: '${engine}' }`)
      const told = 'console.error(log.info().engine)\nawait log.close()'
      const ran = await project.run('engine.mjs', program.replace('await log.close()', told))
      provesTheExample(t, ran)
      t.equal(ran.stderr, `${engine}\n`)
    }
  })

  t.test('bundled, with riolog left outside', async t => {
    for (const [format, name] of [
      ['esm', 'bundle.mjs'],
      ['cjs', 'bundle.cjs'],
    ] as const) {
      const entry = project.write('entry.js', format === 'esm' ? EXAMPLE : asCommonJs(EXAMPLE))
      const outfile = join(project.folder, 'made', name)
      const how = { bundle: true, external: ['riolog'], platform: 'node' as const, format }
      await build({ entryPoints: [entry], outfile, ...how })
      provesTheExample(t, await project.run(name, readFileSync(outfile, 'utf8')))
    }
  })

  t.test('there is one of everything, imported or required', async t => {
    const program = `
import { createRequire } from 'node:module'
import * as log from 'riolog'
import * as ring from 'riolog/ring'
import * as crash from 'riolog/crash'
const require = createRequire(import.meta.url)
for (const [name, module] of Object.entries({ riolog: log, 'riolog/ring': ring, 'riolog/crash': crash })) {
  const required = require(name)
  if (Object.keys(module).sort().join() !== Object.keys(required).sort().join()) console.log(name)
  for (const key in required) if (required[key] !== module[key]) console.log(name, key)
}
const error = await require('riolog').Log.open('nothing', { create: false }).catch(error => error)
console.log(error instanceof log.RiologError, error instanceof ring.RiologError, error.code)
console.log(ring.IoBuffer.alloc(4096).length, require('riolog/package.json').name)`
    const { stdout, stderr } = await project.run('one.mjs', program)
    t.equal(stdout, 'true true ERR_RIOLOG_NO_LOG\n4096 riolog\n', stderr)
  })

  t.test('the crash harness', async t => {
    const program = `
import { crashTest } from 'riolog/crash'
const { runs } = await crashTest({
  runs: 3,
  async workload({ open, acknowledge }) {
    const log = await open()
    acknowledge(await log.appendDurable(Buffer.from('one')))
  },
  async verify({ open, acknowledged }) {
    const log = await open()
    for (const lsn of acknowledged) await log.read(Number(lsn))
  },
})
console.log('runs', runs)`
    for (const [name, text] of [
      ['crash.mjs', program],
      ['crash.cjs', asCommonJs(program)],
    ]) {
      const { stdout, stderr } = await project.run(name, text)
      t.match(stdout, /^runs \d+\n$/, stderr)
    }
  })

  t.test('the command', async t => {
    const command = join(project.folder, 'node_modules/.bin/riolog')
    const lines = 'printf "one\\ntwo\\n"'
    const shell = `${lines} | ${command} append log && ${command} cat log && ${command} --version`
    const { code, stdout, stderr } = await execute('sh', ['-c', shell], project.folder)
    t.equal(code, 0, stderr)
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    t.ok(stdout.endsWith(`one\ntwo\n${version}\n`), stdout)
  })
})

t.test('the native part that was built on the machine comes first', async t => {
  project.takeAddonsAway()
  project.putBuilt()
  breakPrebuild()
  provesTheExample(t, await project.run('built.mjs', EXAMPLE))
})

t.test('one that does not load, as one built for another system, is passed over', async t => {
  project.putPrebuild(PLATFORM)
  mkdirSync(join(project.riolog, 'build/Release'), { recursive: true })
  writeFileSync(join(project.riolog, 'build/Release/riolog.node'), 'no library')
  provesTheExample(t, await project.run('passed-over.mjs', EXAMPLE))
})

t.test('without a native part', async t => {
  project.takeAddonsAway()
  const program = `
import { Log } from 'riolog'
import { IoBuffer } from 'riolog/ring'
console.log('imported')
for (const use of [() => Log.open('data'), async () => IoBuffer.alloc(4096)]) {
  const { name, code, message } = await use().catch(error => error)
  console.log(JSON.stringify({ name, code, message }))
}
console.log((await import('node:fs')).existsSync('data'))`

  t.test('imports work, and the first use tells what to do', async t => {
    for (const [name, text] of [
      ['no.mjs', program],
      ['no.cjs', asCommonJs(program)],
    ]) {
      const { code, stdout, stderr } = await project.run(name, text)
      t.equal(code, 0, stderr)
      const [imported, ...told] = stdout.trimEnd().split('\n')
      t.equal(imported, 'imported')
      t.equal(told.pop(), 'false', 'nothing was made')
      t.equal(told.length, 2)
      for (const line of told) tellsOfNoAddon(t, line, PLATFORM, 'not there')
    }
  })

  t.test('a system without glibc has a folder of its own', async t => {
    if (process.platform !== 'linux') return void t.pass('Linux only', { skip: process.platform })
    const musl = `process.report.getReport = () => ({ header: {} });\n${asCommonJs(program)}`
    const { stdout } = await project.run('musl.cjs', musl)
    tellsOfNoAddon(t, stdout.split('\n')[1], `linux-${process.arch}-musl`, 'not there')
  })

  t.test('one that is broken is told with what is wrong with it', async t => {
    breakPrebuild()
    const { stdout } = await project.run('broken.mjs', program)
    tellsOfNoAddon(t, stdout.split('\n')[1], PLATFORM, 'file too short|invalid ELF header')
  })

  t.test('RIOLOG_ADDON alone counts, where it is set', async t => {
    const { stdout } = await project.run('named.mjs', program, { RIOLOG_ADDON: 'elsewhere.node' })
    const { message } = JSON.parse(stdout.split('\n')[1])
    t.match(
      message,
      /looked for \S+\/elsewhere\.node \(not there\)\. RIOLOG_ADDON names this file\.$/,
    )
  })

  t.test('the command says it in one line', async t => {
    const command = join(project.folder, 'node_modules/.bin/riolog')
    const { code, stderr } = await execute(command, ['append', 'log'], project.folder)
    t.equal(code, 1)
    t.match(stderr, /^riolog: there is no native part .* \(ERR_RIOLOG_NO_ADDON\)\n$/)
  })

  t.test('in a bundle that took riolog in, which has lost its place', async t => {
    const entry = project.write('entry.js', asCommonJs(program))
    const outfile = join(project.folder, 'made/whole.cjs')
    await build({ entryPoints: [entry], bundle: true, platform: 'node', outfile })
    const { stdout, stderr } = await execute(process.execPath, [outfile], project.folder)
    const { code, message } = JSON.parse(stdout.split('\n')[1])
    t.equal(code, 'ERR_RIOLOG_NO_ADDON', stderr)
    t.match(message, /make riolog external to the bundle/)
  })
})

t.test('types, for each kind of project', async t => {
  const program = `
import { Log, type LogOptions, RiologError } from 'riolog'
import { IoBuffer } from 'riolog/ring'
import { crashTest } from 'riolog/crash'

export async function use(options: LogOptions): Promise<number> {
  const log = await Log.open('data', options)
  const lsn: number = await log.appendDurable(Buffer.from('hello'))
  // @ts-expect-error TS2322: it is a number, so the types are there
  const text: string = log.durableLsn
  for await (const { data } of log.scan({ from: lsn })) console.log(String(data), text)
  return IoBuffer.alloc(4096).length
}
export function codeOf(error: unknown): string | undefined {
  return error instanceof RiologError ? error.code : undefined
}
export type Summary = Awaited<ReturnType<typeof crashTest>>
`
  const mixed = `
import { Log } from 'riolog'
import type { Log as Required } from 'riolog' with { 'resolution-mode': 'require' }
export const log: Required = await Log.open('data')
`
  project.write('typed.mts', program)
  project.write('typed.cts', program)
  project.write('mixed.mts', mixed)
  const modes = { node16: 'node16', nodenext: 'nodenext', bundler: 'esnext' }
  const checks = Object.entries(modes).flatMap(([moduleResolution, module]) =>
    [true, false].map(skipLibCheck => ({ moduleResolution, module, skipLibCheck })),
  )
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const files = ['typed.mts', 'typed.cts', 'mixed.mts']
  const all = checks.map(async check => {
    const name = `${check.moduleResolution}${check.skipLibCheck ? '' : ', libraries too'}`
    const path = `tsconfig.${name.replace(/\W+/g, '-')}.json`
    const compilerOptions = { ...check, target: 'es2022', strict: true, noEmit: true }
    project.write(path, JSON.stringify({ compilerOptions, files }))
    const ran = await execute(process.execPath, [tsc, '-p', path], project.folder)
    t.equal(ran.code, 0, ran.code === 0 ? name : `${name}: ${ran.stdout}${ran.stderr}`)
  })
  await Promise.all(all)
})

function provesTheExample(t: Test, { code, stdout, stderr }: Ran): void {
  t.equal(code, 0, stderr)
  t.match(stdout, /^hello\n\d+ hello\n\d+ world\n$/)
}

function tellsOfNoAddon(t: Test, line: string, platform: string, why: string): void {
  const { name, code, message } = JSON.parse(line)
  t.equal(name, 'RiologError')
  t.equal(code, 'ERR_RIOLOG_NO_ADDON')
  t.match(message, new RegExp(` on ${platform}; `))
  t.match(message, /\/build\/Release\/riolog\.node \(not there\) and /)
  t.match(message, new RegExp(`/prebuilds/${platform}/riolog\\.node \\(.*(${why})`))
  t.match(
    message,
    /`npm install --no-save cmake-js@\d+ node-addon-api@\d+` and then `npm run build:native --prefix /,
  )
}

function breakPrebuild(): void {
  const place = join(project.riolog, 'prebuilds', PLATFORM)
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, 'riolog.node'), 'no library')
}
