/** Keys for the command: from files, for every command that reads or writes records, and never shown. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Command } from 'commander'
import t from 'tap'
import { addKeys, encryptionOf, type KeyOptions } from '../../src/cli/keys.ts'
import { Log } from '../../src/index.ts'
import { type Test, temporaryDirectory } from '../support/engines.ts'
import { jsonOf, linesOf, type Ran, riolog, start } from './command.ts'

const SIZE = 64 * 1024
const OLD = randomBytes(32)
const NEW = randomBytes(32)
const CODE = 'ERR_RIOLOG_KEY'

interface World {
  readonly dir: string
  /** Where the keys 1 and 2 are, raw and in hex, and another one for 2. */
  readonly old: string
  readonly fresh: string
  readonly wrong: string
}

function keyFile(t: Test, content: string | Buffer, mode = 0o600): string {
  const path = join(temporaryDirectory(t), 'key')
  writeFileSync(path, content, { mode })
  chmodSync(path, mode)
  return path
}

/** `old` under key 1, then `new` under key 2; `plain` before them, if asked for. */
async function encryptedLog(t: Test, { plain = false } = {}): Promise<World> {
  const dir = join(temporaryDirectory(t), 'log')
  const keys = new Map([
    [1, OLD],
    [2, NEW],
  ])
  const add = async (text: string, keyId?: number) => {
    const encryption =
      keyId === undefined ? {} : { encryption: { keyId, key: keys.get.bind(keys) } }
    await using log = await Log.open(dir, { segmentSize: SIZE, ...encryption })
    await log.appendDurable(Buffer.from(text))
  }
  if (plain) await add('plain')
  await add('old', 1)
  await add('new', 2)
  const old = keyFile(t, OLD)
  const fresh = keyFile(t, `${NEW.toString('hex').toUpperCase()}\n`)
  return { dir, old, fresh, wrong: keyFile(t, randomBytes(32)) }
}

/** Nothing of a key, raw or in any common spelling, in all that a command has said. */
function refuseLeaks(t: Test, { stdout, stderr }: Ran, name: string): void {
  const said = `${stdout.toString('latin1')}\n${stderr.join('\n')}`.toLowerCase()
  for (const key of [OLD, NEW]) {
    for (const spelling of ['hex', 'base64', 'latin1'] as const) {
      if (said.includes(key.toString(spelling).toLowerCase())) t.fail(`${name} shows a key`)
    }
  }
}

async function run(t: Test, ...args: string[]): Promise<Ran> {
  const ran = await riolog(args)
  refuseLeaks(t, ran, args.join(' '))
  return ran
}

const both = ({ old, fresh }: World) => ['--key', `1=${old}`, '--key', `2=${fresh}`]

t.test('cat, verify, tail and dump with the keys, raw and in hex', async t => {
  const world = await encryptedLog(t)
  const { dir } = world
  t.same(linesOf((await run(t, 'cat', dir, ...both(world))).stdout), ['old', 'new'])
  const verified = await run(t, 'verify', dir, '--deep', '--json', ...both(world))
  t.match(jsonOf(verified), { ok: true, records: 2, bytes: 6, deep: { records: 2 } })

  const dumped = async (...args: string[]) =>
    linesOf((await run(t, 'dump', dir, '--json', ...args)).stdout)
      .map(line => JSON.parse(line))
      .filter(({ kind }) => kind === 'record')
  const shown = await dumped(...both(world))
  const textOf = ({ data }: { data: string }) => Buffer.from(data, 'base64').toString()
  t.same(shown.map(textOf), ['old', 'new'])
  t.same(
    shown.map(({ stored }) => stored),
    [['encrypted'], ['encrypted']],
    'and how they stand there',
  )
  const sealed = await dumped()
  t.ok(sealed.every(record => record.length > 20 && !/old|new/.test(textOf(record))))
  t.equal(jsonOf(await run(t, 'stats', dir, '--json')).records, 2, 'stats needs none')

  const child = start('tail', dir, ...both(world))
  let output = ''
  child.stdout.on('data', data => (output += data))
  while (output !== 'old\nnew\n') await once(child.stdout, 'data')
  child.kill('SIGINT')
  await once(child, 'close')
})

t.test('without a key, with one too few and with a wrong one', async t => {
  const world = await encryptedLog(t)
  const { dir, old, wrong } = world
  const cases: [string[], string][] = [
    [[], ''],
    [['--key', `1=${old}`], 'old\n'],
    [['--key', `1=${old}`, '--key', `2=${wrong}`], 'old\n'],
  ]
  for (const [keys, expected] of cases) {
    const ran = await run(t, 'cat', dir, ...keys)
    t.same([ran.code, String(ran.stdout)], [1, expected], 'what came before is given')
    t.match(ran.stderr, [new RegExp(`\\(${CODE}\\)$`)])
  }
  t.match(jsonOf(await run(t, 'verify', dir, '--json')), { ok: false, code: CODE })
})

t.test(
  'salvage encrypts again, with the last key; without one it leaves nothing behind',
  async t => {
    const world = await encryptedLog(t)
    const { dir, old, fresh } = world
    const to = join(temporaryDirectory(t), 'new')
    const refused = await run(t, 'salvage', dir, '--to', to, '--json')
    t.match(jsonOf(refused), { ok: false, code: CODE })
    t.notOk(existsSync(to))
    const salvaged = await run(t, 'salvage', dir, '--to', to, '--json', ...both(world))
    t.match(jsonOf(salvaged), { ok: true, records: 2, holes: [] })
    t.same(linesOf((await run(t, 'cat', to, '--key', `2=${fresh}`)).stdout), ['old', 'new'])
    t.match(jsonOf(await run(t, 'verify', to, '--json', '--key', `1=${old}`)), { code: CODE })
    for (const name of readdirSync(to)) {
      const bytes = readFileSync(join(to, name))
      t.notOk(bytes.includes('old') || bytes.includes('new'), `nothing plain in ${name}`)
    }
  },
)

t.test('records from before the log was encrypted: only where that is said', async t => {
  const world = await encryptedLog(t, { plain: true })
  const { dir } = world
  const plain = await run(t, 'cat', dir, ...both(world))
  t.match(plain, { code: 1, stderr: [/acceptPlain.*ERR_RIOLOG_KEY/] })
  const all = await run(t, 'cat', dir, ...both(world), '--accept-plain')
  t.same(linesOf(all.stdout), ['plain', 'old', 'new'])
  const to = join(temporaryDirectory(t), 'new')
  t.equal((await run(t, 'salvage', dir, '--to', to, ...both(world))).code, 1)
  const salvaged = await run(t, 'salvage', dir, '--to', to, ...both(world), '--accept-plain')
  t.equal(salvaged.code, 0)
  t.equal(linesOf((await run(t, 'cat', to, '--key', `2=${world.fresh}`)).stdout).length, 3)
})

t.test('append encrypts with the last key', async t => {
  const { dir, old, fresh } = await encryptedLog(t)
  const ran = await riolog(['append', dir, '--key', `1=${old}`, '--key', `2=${fresh}`], 'secret\n')
  t.equal(ran.code, 0)
  const last = await run(t, 'cat', dir, '--key', `1=${old}`, '--key', `2=${fresh}`)
  t.same(linesOf(last.stdout), ['old', 'new', 'secret'])
  for (const name of readdirSync(dir)) t.notOk(readFileSync(join(dir, name)).includes('secret'))
})

/** What a command would open the log with, given such options. */
function parsed(...args: string[]) {
  let found: ReturnType<typeof encryptionOf>
  const command = new Command('cat').exitOverride().configureOutput({ outputError: () => {} })
  addKeys(command).action((options: KeyOptions) => {
    found = encryptionOf(options)
  })
  command.parse(args, { from: 'user' })
  return found
}

t.test('what is no key, or cannot be read, is told without what was given', async t => {
  const { dir, old } = await encryptedLog(t)
  const hex = NEW.toString('hex')
  const argument = 'ERR_RIOLOG_INVALID_ARGUMENT'
  for (const [args, exitCode, code] of [
    [['--key', hex], 2, argument],
    [['--key', `2=${hex}`], 1, 'ERR_RIOLOG_SYSTEM'],
  ] as const) {
    const ran = await run(t, 'cat', dir, '--json', ...args)
    t.equal(ran.code, exitCode)
    t.match(jsonOf(ran), { ok: false, code })
    t.equal(ran.stderr.length, 1)
  }
  const usage = 'riolog.key'
  const cases: [string[], string][] = [
    [['--key', `2:${hex}`], usage],
    [['--key', `x=${old}`], usage],
    [['--key', '1='], usage],
    [['--key', `4294967296=${old}`], usage],
    [['--key', `1=${old}`, '--key', `1=${old}`], usage],
    [['--accept-plain'], usage],
    [['--key', `2=${temporaryDirectory(t)}`], 'ERR_RIOLOG_SYSTEM'],
    [['--key', `2=${keyFile(t, NEW.subarray(1))}`], argument],
    [['--key', `2=${keyFile(t, Buffer.concat([NEW, NEW, NEW]))}`], argument],
    [['--key', `2=${keyFile(t, `${hex}0`)}`], argument],
    [['--key', `2=${keyFile(t, hex.slice(1))}`], argument],
    [['--key', `2=${keyFile(t, `${hex.slice(1)}g`)}`], argument],
    [['--key', `2=${keyFile(t, '')}`], argument],
    [['--key', '2=/dev/zero'], argument],
  ]
  for (const [args, code] of cases) {
    const name = args.join(' ').slice(0, 20)
    try {
      parsed(...args)
      t.fail(`${name} was taken`)
    } catch (error) {
      t.match(error, { code }, name)
      t.notMatch(String(error), hex.slice(0, 16), name)
    }
  }
  t.equal(parsed(), undefined)
  for (const end of ['', '\n', '\r\n']) {
    const found = parsed('--key', `0=${keyFile(t, `${hex}${end}`)}`, '--key', `4294967295=${old}`)
    t.match(found, { keyId: 4294967295, acceptPlain: false })
    t.same([found?.key(0), found?.key(4294967295), found?.key(1)], [NEW, OLD, undefined])
  }
})

t.test('a file that others may read is warned of, and taken', async t => {
  const { dir, old } = await encryptedLog(t)
  const child = start('cat', dir, '--key', `1=${old}`, '--key', `2=${keyFile(t, NEW, 0o640)}`)
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  t.equal(stdout, 'old\nnew\n')
  const told = 'riolog: warning: the file of key 2 is open to others than its owner (mode 0640)'
  t.ok(stderr.split('\n').includes(told))

  const warnings: string[] = []
  const listener = ({ message }: Error) => warnings.push(message)
  process.on('warning', listener)
  for (const mode of [0o600, 0o400, 0o604, 0o610]) parsed('--key', `2=${keyFile(t, NEW, mode)}`)
  await new Promise(resolve => setImmediate(resolve))
  process.off('warning', listener)
  t.same(
    warnings.map(message => /mode (\d+)/.exec(message)?.[1]),
    ['0604', '0610'],
  )
})
