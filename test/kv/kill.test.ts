/**
 * A process that writes to the store is killed at a random time, again and again; each acknowledged batch
 * must be there, and one that was not, as a whole or not at all. RIOLOG_RUNS is how often, RIOLOG_SEED
 * reproduces.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RiologLevel } from '../../examples/kv/src/index.ts'
import { temporaryDirectory } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { type Change, type Report, writtenValue } from './kill-changes.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 6)
const CALLERS = 8
const LIFE_MS = 600
const CHILD = fileURLToPath(new URL('kill-child.ts', import.meta.url))

type Content = Map<string, string>

async function oneLife(directory: string, seed: number, lifeMs: number): Promise<Report[]> {
  const args = ['--import=tsx', CHILD, directory, String(seed), String(CALLERS)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  let timer: NodeJS.Timeout | undefined
  child.stderr.on('data', chunk => (errors += chunk))
  child.stdout.on('data', chunk => {
    output += chunk
    timer ??= setTimeout(() => child.kill('SIGKILL'), lifeMs)
  })
  const signal = await new Promise(resolve => child.on('close', (_, signal) => resolve(signal)))
  clearTimeout(timer)
  if (signal !== 'SIGKILL') throw new Error(`the child ended by itself: ${errors}`)
  const lines = output.split('\n').slice(1, -1)
  return lines.map(line => JSON.parse(line))
}

function applyTo(content: Content, changes: readonly Change[]): void {
  for (const change of changes) {
    const value = writtenValue(change)
    if (value === undefined) content.delete(change.key)
    else content.set(change.key, value)
  }
}

/** Of one caller: what its keys are when all that it was told of is there, and its last write, too. */
class CallerModel {
  content: Content = new Map()
  begun: readonly Change[] | undefined
  acknowledged = 0

  report({ begun }: Report): void {
    if (begun === undefined) {
      applyTo(this.content, this.begun!)
      this.acknowledged++
    }
    this.begun = begun
  }

  /** What is wrong; goes on from what was found. */
  judge(found: Content): string | undefined {
    const withLast = new Map(this.content)
    applyTo(withLast, this.begun ?? [])
    this.begun = undefined
    if (!isSame(this.content, found) && !isSame(withLast, found)) {
      return JSON.stringify({ expected: [...this.content], or: [...withLast], found: [...found] })
    }
    this.content = found
    return undefined
  }
}

function isSame(one: Content, other: Content): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value)
}

/** What each caller's keys are. */
async function contentsOf(directory: string): Promise<Content[]> {
  await using db = new RiologLevel(directory, { createIfMissing: false })
  const contents: Content[] = []
  for (let caller = 0; caller < CALLERS; caller++) {
    contents.push(new Map(await db.iterator({ gte: `${caller}-`, lt: `${caller}.` }).all()))
  }
  return contents
}

t.test('nothing acknowledged is lost by SIGKILL, and no batch is cut in two', async t => {
  const directory = temporaryDirectory(t)
  const first = chooseSeed() % 1_000_000
  const random = new Random(first)
  const models = Array.from({ length: CALLERS }, () => new CallerModel())
  for (let seed = first; seed < first + RUNS; seed++) {
    const reports = await oneLife(directory, seed, random.int(0, LIFE_MS))
    for (const report of reports) models[report.caller].report(report)
    const contents = await contentsOf(directory)
    for (const [caller, model] of models.entries()) {
      const wrong = model.judge(contents[caller])
      if (wrong === undefined) continue
      t.fail(`RIOLOG_SEED=${first}, life ${seed - first}, caller ${caller}`, { wrong })
      return
    }
  }
  const acknowledged = models.reduce((sum, model) => sum + model.acknowledged, 0)
  t.comment(`${RUNS} kills from seed ${first}: ${acknowledged} acknowledged`)
  t.ok(acknowledged > 0, 'the killed processes had acknowledged something')
})
