/**
 * What must not compile does not, and for the reason that its comment gives: the directives alone
 * would take any error for the one that was meant.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const FIXTURES = join(HERE, 'fixtures')
const TSC = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url))
const DIRECTIVE = /^( *\/\/ )@ts-expect-error (TS\d+): (?=\S)/

/** As the compiler says it, in short: `name.ts(line): code`. */
function errorAt(name: string, line: number, code: string): string {
  return `${name}(${line}): ${code}`
}

/** Copies a fixture without its directives, line by line; gives the errors that they announced. */
function strip(name: string, folder: string): string[] {
  const announced: string[] = []
  const lines = readFileSync(join(FIXTURES, name), 'utf8').split('\n')
  const stripped = lines.map((line, i) => {
    const code = DIRECTIVE.exec(line)?.[2]
    if (code !== undefined) announced.push(errorAt(name, i + 2, code))
    return line.replace(DIRECTIVE, '$1')
  })
  writeFileSync(join(folder, name), stripped.join('\n'))
  return announced
}

/** The errors of all files in a folder, those of what they import among them. */
function compile(folder: string): Promise<string[]> {
  const config = { extends: '../../../tsconfig.json', include: ['*.ts'], exclude: [] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  // The test runner hooks itself into every Node by NODE_OPTIONS, with which the compiler cannot start.
  const node = ['-u', 'NODE_OPTIONS', process.execPath]
  return new Promise((resolve, reject) => {
    const args = [...node, TSC, '-p', folder, '--pretty', 'false']
    execFile('env', args, { cwd: folder }, (_, stdout, stderr) => {
      if (stderr !== '') return reject(new Error(stderr))
      const errors = stdout.matchAll(/^(\S+)\((\d+),\d+\): error (TS\d+):/gm)
      resolve([...errors].map(([, name, line, code]) => errorAt(name, Number(line), code)))
    })
  })
}

t.test('each misuse is the error that its directive names, and nothing else is one', async t => {
  // In here, so that imports and settings are found as from the fixtures; with a dot, so that a
  // type check of the project that runs meanwhile does not see it.
  const folder = mkdtempSync(join(HERE, '.stripped-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const announced = readdirSync(FIXTURES).flatMap(name => strip(name, folder))
  t.ok(announced.length > 60, `${announced.length} misuses`)
  t.same((await compile(folder)).sort(), announced.sort())
})

t.test('every directive names a code and a reason', async t => {
  for (const name of readdirSync(FIXTURES)) {
    const lines = readFileSync(join(FIXTURES, name), 'utf8').split('\n')
    const bare = lines.filter(line => line.includes('@ts-expect-error') && !DIRECTIVE.test(line))
    t.same(bare, [], name)
  }
})
