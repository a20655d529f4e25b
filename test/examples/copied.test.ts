/** Each example can be copied: with its imports of riolog by the package's name it works on the built package. */
import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { temporaryDirectory } from '../support/engines.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What each is for, in some lines; `data` is a directory for it. */
const PROGRAMS = {
  'raft-log': `
import { RaftStorage } from './raft-storage.ts'
const storage = await RaftStorage.open('data')
const term = await storage.startElection('me')
console.log(term, await storage.propose(term, [Buffer.from('x')]))
await storage.close()
`,
  'job-queue': `
import { JobQueue } from './job-queue.ts'
const queue = await JobQueue.open('data')
await queue.enqueue(Buffer.from('resize'))
const job = await queue.take()
console.log(String(job.data), await queue.complete(job))
await queue.close()
`,
  'http-ingest': `
import { Log } from 'riolog'
import { IngestServer } from './ingest-server.ts'
const server = new IngestServer(await Log.open('data'))
server.http.listen(0, '127.0.0.1', async () => {
  const url = \`http://127.0.0.1:\${server.http.address().port}/records\`
  const { status, headers } = await fetch(url, { method: 'POST', body: 'hello' })
  const { pathname } = new URL(headers.get('location'), url)
  console.log(status, await (await fetch(new URL(pathname, url))).text())
  await server.close()
})
`,
}
const PRINTED = { 'raft-log': '1 1\n', 'job-queue': 'resize true\n', 'http-ingest': '204 hello\n' }

function copyOf(name: string, folder: string): string {
  const copy = join(folder, name)
  cpSync(join(ROOT, 'examples', name), copy, { recursive: true })
  for (const file of readdirSync(copy)) {
    const path = join(copy, file)
    const source = readFileSync(path, 'utf8')
    writeFileSync(path, source.replace("'../../src/index.ts'", "'riolog'"))
  }
  mkdirSync(join(copy, 'node_modules'))
  symlinkSync(ROOT, join(copy, 'node_modules/riolog'))
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}')
  return copy
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  t.test(`a copy of ${name}`, async t => {
    if (!existsSync(join(ROOT, 'dist/index.js'))) {
      return void t.pass('needs a build', { skip: 'npm run build:ts' })
    }
    const copy = copyOf(name, temporaryDirectory(t))
    writeFileSync(join(copy, 'program.ts'), program)
    const args = [`--import=${import.meta.resolve('tsx')}`, 'program.ts']
    const output = await new Promise(resolve => {
      execFile(process.execPath, args, { cwd: copy }, (_, stdout, stderr) =>
        resolve(stdout + stderr),
      )
    })
    t.equal(output, PRINTED[name as keyof typeof PRINTED])
  })
}
