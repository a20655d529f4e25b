import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseBytes, parseLsn } from '../../src/cli/values.ts'
import { temporaryDirectory } from '../support/engines.ts'
import { jsonOf, riolog } from './command.ts'

t.test('every failure is one line with its code', async t => {
  const dir = temporaryDirectory(t)
  const file = join(dir, 'file')
  writeFileSync(file, 'not a directory')
  const missing = join(dir, 'missing')
  const cases: [string[], number, string][] = [
    [['cat', missing], 1, 'ERR_RIOLOG_NO_LOG'],
    [['verify', missing], 1, 'ERR_RIOLOG_NO_LOG'],
    [['info', missing], 1, 'ERR_RIOLOG_NO_LOG'],
    [['info', dir], 1, 'ERR_RIOLOG_NO_LOG'],
    [['cat', file], 1, 'ERR_RIOLOG_NOT_A_DIRECTORY'],
    [['append', file], 1, 'ERR_RIOLOG_NOT_A_DIRECTORY'],
    [['cat'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['cat', dir, 'more'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['cat', dir, '--from', 'here'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['cat', dir, '--frm', '1'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['cat', dir, '--key', 'mine'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['stats', dir, '--key', '1=mine'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['append', missing, '--framing', 'json'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['append', missing, '--engine', 'steam'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['append', missing, '--segment-size', '64MB'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['append', missing, '--segment-size', '0'], 2, 'ERR_RIOLOG_INVALID_OPTION'],
    [['append', missing, '--segment-size', '65537'], 2, 'ERR_RIOLOG_INVALID_OPTION'],
    [['frobnicate'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
  ]
  for (const [args, exitCode, code] of cases) {
    const name = args.map(arg => arg.replace(dir, 'DIR')).join(' ')
    t.test(name, async t => {
      const ran = await riolog([...args, '--json'])
      t.equal(ran.code, exitCode)
      t.equal(ran.stderr.length, 1)
      t.match(ran.stderr[0], new RegExp(`^riolog: (?!error).+ \\(${code}\\)$`))
      t.match(jsonOf(ran), { ok: false, code, message: /./ })
    })
  }
})

t.test('without --json a failure leaves standard output empty', async t => {
  const ran = await riolog(['info', temporaryDirectory(t)])
  t.match(ran, { code: 1, stderr: [/^riolog: .* \(ERR_RIOLOG_NO_LOG\)$/] })
  t.equal(ran.stdout.length, 0)
})

t.test('help and version are no failures; no command at all is', async t => {
  const { version } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  )
  const asked = await riolog(['--version'])
  t.same([asked.code, String(asked.stdout)], [0, `${version}\n`])
  const help = await riolog(['append', '--help'])
  t.equal(help.code, 0)
  for (const option of ['--framing', '--segment-size', '--engine', '--key <id=file>', '--json']) {
    t.ok(help.stdout.includes(option), option)
  }
  const nothing = await riolog([])
  t.equal(nothing.code, 2)
  t.match(nothing.stderr[0], /^Usage: riolog/)
})

t.test('sizes are powers of two, and clear', async t => {
  t.equal(parseBytes('4096'), 4096)
  t.equal(parseBytes('12b'), 12)
  t.equal(parseBytes('64KiB'), 65536)
  t.equal(parseBytes('64 mib'), 64 * 2 ** 20)
  t.equal(parseBytes('16G'), 16 * 2 ** 30)
  for (const bad of ['', 'MiB', '64MB', '-1', '1.5MiB', '1e6', '0x10', '9999999999999999', '1T']) {
    t.throws(() => parseBytes(bad), { code: 'commander.invalidArgument' }, `"${bad}"`)
  }
})

t.test('an LSN is digits', async t => {
  t.equal(parseLsn('0'), 0)
  t.equal(parseLsn('9007199254740991'), Number.MAX_SAFE_INTEGER)
  for (const bad of ['', '-1', '1.5', ' 1', '0x10', '1e3', '9007199254740992']) {
    t.throws(() => parseLsn(bad), { code: 'commander.invalidArgument' }, `"${bad}"`)
  }
})
