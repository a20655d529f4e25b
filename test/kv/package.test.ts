/** A copy of examples/kv is a package: with one line changed it works on the built riolog. */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { temporaryDirectory } from '../support/engines.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRAM = `
import { RiologLevel } from './src/index.ts'
const db = new RiologLevel('data')
await db.batch([{ type: 'put', key: 'a', value: '1' }, { type: 'put', key: 'b', value: '2' }])
for await (const [key, value] of db.iterator()) console.log(key, value)
await db.close()
`

t.test('as a package of its own', async t => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    return void t.pass('needs a build', { skip: 'npm run build:ts' })
  }
  const copy = join(temporaryDirectory(t), 'kv')
  const isOurs = (path: string) => !path.includes('node_modules')
  cpSync(join(ROOT, 'examples/kv'), copy, { recursive: true, filter: isOurs })
  const line = join(copy, 'src/riolog.ts')
  const own = readFileSync(line, 'utf8').replace("'../../../src/index.ts'", "'riolog'")
  writeFileSync(line, own)
  mkdirSync(join(copy, 'node_modules'))
  symlinkSync(ROOT, join(copy, 'node_modules/riolog'))
  symlinkSync(join(ROOT, 'node_modules/abstract-level'), join(copy, 'node_modules/abstract-level'))
  writeFileSync(join(copy, 'program.ts'), PROGRAM)

  const args = [`--import=${import.meta.resolve('tsx')}`, 'program.ts']
  const output = await new Promise(resolve => {
    execFile(process.execPath, args, { cwd: copy }, (_, stdout, stderr) => resolve(stdout + stderr))
  })
  t.equal(output, 'a 1\nb 2\n')
})
