/**
 * The code in the documents compiles, and what is a program runs. A block of TypeScript is a program by itself,
 * unless a comment above it says otherwise:
 *
 *   <!-- continues -->     it goes on where the block before it ends; all of them are one program
 *   <!-- io_uring -->      it runs only where io_uring is
 *   <!-- with: CODE -->    a fragment: CODE is what it takes for granted; it is not run
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { DOCUMENTS } from './support/documents.ts'
import { temporaryDirectory, whyNoRing } from './support/engines.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const BLOCK = /(?:^<!-- (?<marker>(?:(?!-->)[\s\S])*) -->\n)?^```ts\n(?<code>[\s\S]*?)^```$/gm
/** As a user's imports are resolved by the package, these are by the sources. */
const PATHS: Record<string, string> = {
  riolog: 'src/index.ts',
  'riolog/ring': 'src/ring/index.ts',
  'riolog/crash': 'src/crash/index.ts',
  'riolog-kv': 'examples/kv/src/index.ts',
}

interface Program {
  /** Where it begins, as a file's name. */
  readonly name: string
  code: string
  readonly isFragment: boolean
  readonly needsRing: boolean
}

function programsOf(document: string): Program[] {
  const text = readFileSync(join(ROOT, document), 'utf8')
  const programs: Program[] = []
  for (const { groups, index } of text.matchAll(BLOCK)) {
    const { marker, code } = groups!
    const line = text.slice(0, index).split('\n').length
    const name = `${document.replace(/\W/g, '-')}-line-${line}`
    const needsRing = marker === 'io_uring'
    if (marker === undefined || needsRing)
      programs.push({ name, code, isFragment: false, needsRing })
    else if (marker === 'continues') programs.at(-1)!.code += code
    else if (marker.startsWith('with: ')) {
      // On its one line, so that the lines of an error are those of the block.
      programs.push({ name, code: `${marker.slice(6)};${code}`, isFragment: true, needsRing })
    } else throw new Error(`${name}: an unknown marker: ${marker}`)
  }
  return programs
}

function execute(command: string, args: string[], cwd: string) {
  return new Promise<{ code: unknown; output: string }>(resolve => {
    execFile(command, args, { cwd }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, output: `${stdout}${stderr}` }),
    )
  })
}

function compile(folder: string) {
  const paths = Object.entries(PATHS).map(([name, path]) => [name, [`../../${path}`]])
  // What a block declares and leaves to its reader to use is no mistake.
  const unused = { noUnusedLocals: false, noUnusedParameters: false }
  const compilerOptions = { paths: Object.fromEntries(paths), ...unused }
  const config = { extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'], exclude: [] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  // The test runner hooks itself into every Node by NODE_OPTIONS, with which the compiler cannot start.
  const args = ['-u', 'NODE_OPTIONS', process.execPath, TSC, '-p', folder, '--pretty', 'false']
  return execute('env', args, folder)
}

/** The program with its imports from the sources. */
function runnable({ code }: Program): string {
  return code.replace(/ from '(riolog[^']*)'/g, (_, name) => {
    return ` from ${JSON.stringify(join(ROOT, PATHS[name]))}`
  })
}

t.test('the code in the documents', async t => {
  const programs = DOCUMENTS.flatMap(programsOf)
  // In here, so that imports and settings are found; with a dot, so that no type check of the project that
  // runs meanwhile sees it.
  const folder = mkdtempSync(join(HERE, '.docs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const { name, code } of programs)
    writeFileSync(join(folder, `${name}.ts`), `${code}export {}\n`)
  const compiled = await compile(folder)
  t.equal(compiled.code, 0, compiled.output)

  const noRing = await whyNoRing()
  for (const program of programs.filter(({ isFragment }) => !isFragment)) {
    if (program.needsRing && noRing !== undefined) {
      t.pass(`${program.name} needs io_uring`, { skip: noRing })
      continue
    }
    const file = join(folder, `${program.name}.ts`)
    writeFileSync(file, `${runnable(program)}export {}\n`)
    const args = [`--import=${import.meta.resolve('tsx')}`, file]
    const { code, output } = await execute(process.execPath, args, temporaryDirectory(t))
    t.equal(code, 0, `${program.name} runs: ${output}`)
  }
  t.ok(programs.filter(({ isFragment }) => !isFragment).length >= 2, 'some are programs')
})

t.test('a block that does not compile is found', async t => {
  const folder = mkdtempSync(join(HERE, '.docs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const code =
    "import { Log } from 'riolog'\nconst lsn: string = (await Log.open('data')).durableLsn\n"
  writeFileSync(join(folder, 'wrong.ts'), code)
  const { output } = await compile(folder)
  t.match(output, /^wrong\.ts\(2,7\): error TS2322/)
})
