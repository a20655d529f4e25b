import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Log } from '../src/index.ts'
import { temporaryDirectory } from './support/engines.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

interface Ran {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

/** Runs an example as its first line says, with a directory of the test for temporary files. */
function run(temporary: string, name: string, ...args: string[]): Promise<Ran> {
  const command = ['--import=tsx', `examples/${name}`, ...args]
  const env = { ...process.env, TMPDIR: temporary }
  return new Promise(resolve => {
    execFile(process.execPath, command, { cwd: ROOT, env }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    )
  })
}

/** The value behind a name in the output of word-list. */
function field(stdout: string, name: string): string | undefined {
  return new RegExp(`^${name} +(.*)$`, 'm').exec(stdout)?.[1]
}

t.test('append prints the three records, and leaves no temporary log', async t => {
  const temporary = temporaryDirectory(t)
  const { code, stdout } = await run(temporary, 'append.ts')
  t.match(stdout, /^\d+: one\n\d+: two\n(\d+): three\nread \1: three\ndurable up to \d+\n$/)
  t.equal(code, 0)
  t.same(logsIn(temporary), [])
})

t.test('append writes to the directory that it is given', async t => {
  const directory = join(temporaryDirectory(t), 'log')
  t.equal((await run(temporaryDirectory(t), 'append.ts', directory)).code, 0)
  await using log = await Log.open(directory, { readOnly: true })
  const records: string[] = []
  for await (const { data } of log.scan()) records.push(String(data))
  t.same(records, ['one', 'two', 'three'])
})

t.test('word-list brings a large text through the log and back', async t => {
  const temporary = temporaryDirectory(t)
  const { code, stdout } = await run(temporary, 'word-list.ts')
  t.equal(code, 0)
  const [, records] = /^(\d+) written, \1 read back$/.exec(field(stdout, 'records') ?? '') ?? []
  const [, bytes] = /^(\d+) written, \1 read back$/.exec(field(stdout, 'bytes') ?? '') ?? []
  t.ok(Number(records) > 10_000, 'many records')
  t.ok(Number(bytes) > 2 ** 20, 'more than a MiB')
  t.match(field(stdout, 'durable LSN'), /^\d+$/)
  t.match(field(stdout, 'SHA-256 in'), /^[0-9a-f]{64}$/)
  t.equal(field(stdout, 'SHA-256 out'), field(stdout, 'SHA-256 in'))
  t.match(stdout, /Every byte came back\.\n$/)
  t.same(logsIn(temporary), [])
})

t.test('word-list takes a file and a directory, also one with a log in it', async t => {
  const temporary = temporaryDirectory(t)
  const file = join(temporary, 'text')
  const text = 'first\n\n\xff\0third\nno newline'
  writeFileSync(file, text)
  const directory = join(temporary, 'log')
  mkdirSync(directory)
  for (const time of ['first', 'second']) {
    const { code, stdout } = await run(temporary, 'word-list.ts', file, directory)
    t.equal(code, 0, time)
    t.equal(field(stdout, 'records'), '4 written, 4 read back', time)
    const sha256 = createHash('sha256').update(text).digest('hex')
    t.equal(field(stdout, 'SHA-256 out'), sha256, time)
  }
  t.ok(existsSync(directory), 'a directory that was named stays')
})

t.test('crash-your-own finds the bug, names its seed, and finds nothing without it', async t => {
  const temporary = temporaryDirectory(t)
  const { code, stdout } = await run(temporary, 'crash-your-own.ts')
  t.equal(code, 0)
  t.match(
    stdout,
    /^Found: the verification failed: [abc] had come to \d+\nseed \d+, after \d+ runs/,
  )
  t.match(stdout, /the power is cut/)
  const fixed = await run(temporary, 'crash-your-own.ts', '--fixed')
  t.match(fixed.stdout, /^\d+ crashes, and nothing is lost\n$/)
})

/** tsx keeps a cache in the temporary directory too. */
function logsIn(temporary: string): string[] {
  return readdirSync(temporary).filter(name => name.startsWith('riolog-'))
}
