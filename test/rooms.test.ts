/** Imports point one way, from a floor to itself or to one below it: docs/ARCHITECTURE.md, "Rooms". */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from './support/documents.ts'

/** From the top down; a file belongs to the first that its path begins with. */
const FLOORS = [
  'src/cli/',
  'src/crash/',
  'src/index.ts',
  'src/log/log.ts',
  'src/log/replication/',
  'src/log/retention.ts',
  'src/log/reading/',
  'src/log/recovery/',
  'src/log/commit/',
  'src/log/records/',
  'src/log/segments/',
  'src/log/',
  'src/segment/',
  'src/disk/',
  'src/ring/',
  'src/',
] as const

const floorOf = (path: string) => FLOORS.findIndex(floor => path.startsWith(floor))

/** Imports of `file`, as paths from the root, that lead upstairs. */
function upstairs(file: string, source: string): string[] {
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']*)'/g)]
    .map(([, specifier]) => join(file, '..', specifier))
    .filter(imported => imported.startsWith('src/') && floorOf(imported) < floorOf(file))
}

const FILES = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .map(name => join('src', name))

t.test('no import leads upstairs', async t => {
  for (const file of FILES) {
    t.same(upstairs(file, readFileSync(join(ROOT, file), 'utf8')), [], file)
  }
})

t.test('each floor is there, and has files', async t => {
  for (const floor of FLOORS)
    t.ok(
      FILES.some(file => file.startsWith(floor)),
      floor,
    )
})

t.test('an import that leads upstairs is found, however it is written', async t => {
  const writer = [
    "import type { Log } from '../log.ts'",
    "import { Reader } from '../reading/reader.ts'",
  ]
  t.same(upstairs('src/log/commit/writer.ts', writer.join('\n')), [
    'src/log/log.ts',
    'src/log/reading/reader.ts',
  ])
  t.same(upstairs('src/disk/uring.ts', "await import('../log/options.ts')"), ['src/log/options.ts'])
  t.same(upstairs('src/disk/uring.ts', "import '../log/options.ts'"), ['src/log/options.ts'])
  t.same(upstairs('src/disk/uring.ts', "export { Ring } from '../ring/ring.ts'"), [])
})
