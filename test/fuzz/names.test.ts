/**
 * Whatever stands in a log's directory under the name of one of its files: links, directories, pipes,
 * devices, files that are far too long. On the real disk, by both engines: an error with a code or records of
 * the log, in time. RIOLOG_SEED reproduces.
 */
import { execFileSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { ThreadPoolDisk } from '../../src/disk/threadpool.ts'
import { UringDisk } from '../../src/disk/uring.ts'
import { MANIFEST_NAME } from '../../src/log/segments/manifest.ts'
import { segmentName } from '../../src/segment/format.ts'
import { onEachEngine, type RealEngine, temporaryDirectory } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { tryWay, WAYS } from './openings.ts'
import { makeOriginals, type Original } from './originals.ts'
import { withinTime } from './simulated-run.ts'

const HANG_MS = 20_000
const SPARSE_BYTES = 2 ** 36

/** Puts something at a path where nothing is; `spare` is the file that stood there, under another name. */
type Oddity = (path: string, spare: string) => void | Promise<void>

const run = (command: string, ...args: string[]) => {
  execFileSync(command, args, { stdio: 'pipe' })
}

const ODDITIES: Readonly<Record<string, Oddity>> = {
  nothing: () => {},
  'a link to what it was': (path, spare) => symlinkSync(spare, path),
  'a link to nowhere': path => symlinkSync('nowhere', path),
  'a link to itself': path => symlinkSync(path, path),
  'a link to zeros without end': path => symlinkSync('/dev/zero', path),
  'a second name of what it was': (path, spare) => linkSync(spare, path),
  'a directory': path => mkdirSync(path),
  'a pipe': path => run('mkfifo', path),
  'a socket': async path => {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(path, resolve))
    // Its name would go with it: what is left behind is what a killed server leaves.
    renameSync(path, `${path}.kept`)
    await new Promise(resolve => server.close(resolve))
    renameSync(`${path}.kept`, path)
  },
  'a device of zeros': path => run('mknod', path, 'c', '1', '5'),
  'an empty file': path => writeFileSync(path, ''),
  'a file that is far too long': (path, spare) => {
    renameSync(spare, path)
    truncateSync(path, SPARSE_BYTES)
  },
}

const makeDisk = (engine: RealEngine) =>
  engine === 'uring' ? new UringDisk() : new ThreadPoolDisk()

/** The manifest, the oldest and the newest segment, and the one that comes next. */
function targetsOf({ files }: Original): string[] {
  const segments = [...files.keys()].filter(name => name !== MANIFEST_NAME).sort()
  const newest = segments.at(-1)!
  return [MANIFEST_NAME, segments[0], newest, segmentName(Number.parseInt(newest, 10) + 1)]
}

async function putOddity(directory: string, target: string, oddity: Oddity, { files }: Original) {
  mkdirSync(directory)
  for (const [name, bytes] of files) writeFileSync(join(directory, name), bytes)
  const path = join(directory, target)
  const spare = join(directory, 'spare')
  if (files.has(target)) renameSync(path, spare)
  else writeFileSync(spare, '')
  await oddity(path, spare)
}

onEachEngine(t, 'odd files', async (t, engine) => {
  const seed = chooseSeed()
  t.comment(`seed ${seed}`)
  const random = new Random(seed)
  const root = temporaryDirectory(t)
  const [closed, killed] = await makeOriginals()
  const outcomes = new Map<string, number>()
  for (const [name, oddity] of Object.entries(ODDITIES)) {
    const original = random.chance(0.5) ? closed : killed
    for (const target of targetsOf(original)) {
      for (const [way, run] of Object.entries(WAYS)) {
        const path = join(root, 'log')
        const what = `${name} as ${target} of the ${original.name} log, ${way}`
        try {
          await putOddity(path, target, oddity, original)
        } catch (error) {
          t.pass(what, { skip: (error as Error).message.split('\n')[0] })
          rmSync(path, { recursive: true })
          continue
        }
        const added = new Map<number, Buffer>()
        const disk = () => makeDisk(engine)
        const involved = new Set([original])
        const opening = { disk, path, original, involved, random, added }
        try {
          const outcome = await withinTime(tryWay(run, opening), HANG_MS)
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        } catch (error) {
          t.fail(what, { error, seed })
        }
        rmSync(path, { recursive: true })
      }
    }
  }
  t.comment([...outcomes])
  t.ok(outcomes.has('opened'), 'some do no harm')
  t.ok(outcomes.has('ERR_RIOLOG_SYSTEM'), 'some are refused by the system, or as what they are')
})
