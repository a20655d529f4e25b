/**
 * The ingest server is killed while many connections post to it: each body that was answered with 204 is in the log.
 * RIOLOG_RUNS is how often, RIOLOG_SEED reproduces.
 */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t from 'tap'
import { Log } from '../../src/index.ts'
import { bundle, startBundle } from '../support/bundled.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { recordsOf } from '../support/simulated.ts'
import { HttpClient } from './http-client.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 4)
const CONNECTIONS = 48
/** The kill comes behind so many answers at most: a time would be too short on a busy machine. */
const ANSWERS_MAX = 400
const SERVER = bundle('examples/http-ingest/main.ts')

interface Posted {
  readonly id: string
  readonly body: Buffer
  /** Where it is, by the server's answer. */
  location?: string
}

async function startServer(args: readonly string[]) {
  const child = startBundle(SERVER, args)
  let errors = ''
  child.stderr.on('data', chunk => (errors += chunk))
  const exit = once(child, 'close')
  const first = createInterface(child.stdout)[Symbol.asyncIterator]().next()
  const { value = '' } = (await Promise.race([first, exit.then(() => ({}))])) as { value?: string }
  const [, origin] = /^listening on (http:\S+)$/.exec(value) ?? []
  if (origin === undefined) throw new Error(`the server did not start: ${value}${errors}`)
  return { child, exit, origin }
}

/** Posts on each connection until the server is gone. */
async function load(
  origin: string,
  life: number,
  random: Random,
  onAnswer: () => void,
): Promise<Posted[]> {
  const client = new HttpClient(origin, CONNECTIONS)
  const posted: Posted[] = []
  const connection = async (number: number) => {
    for (let count = 0; ; count++) {
      const id = `${life}.${number}.${count} `
      const length = random.chance(0.1) ? random.int(2000, 40_000) : random.int(0, 2000)
      const one: Posted = { id, body: Buffer.concat([Buffer.from(id), Buffer.alloc(length, id)]) }
      posted.push(one)
      const answer = await client.post(one.body)
      if (answer.status === 204) one.location = answer.headers.location!
      else if (answer.status !== 503) throw new Error(`status ${answer.status}: ${answer.body}`)
      onAnswer()
    }
  }
  const ends = await Promise.allSettled(
    Array.from({ length: CONNECTIONS }, (_, i) => connection(i)),
  )
  client.close()
  for (const end of ends) {
    const { code } = (end as PromiseRejectedResult).reason
    if (!/^E(CONN|PIPE)/.test(code)) throw (end as PromiseRejectedResult).reason
  }
  return posted
}

/** What is wrong with the log; undefined: nothing. */
async function judge(log: Log, posted: readonly Posted[]): Promise<string | undefined> {
  const byId = new Map(posted.map(one => [one.id, one]))
  const found = new Set<string>()
  for (const { lsn, data } of await recordsOf(log)) {
    const id = String(data.subarray(0, data.indexOf(' ') + 1))
    const one = byId.get(id)
    if (one === undefined) return `LSN ${lsn} was never posted`
    if (!one.body.equals(data)) return `LSN ${lsn} holds other bytes`
    if (found.has(id)) return `${id} is there twice`
    if (one.location !== undefined && one.location !== `/records/${lsn}`) return `${id} has moved`
    found.add(id)
  }
  const lost = posted.find(({ id, location }) => location !== undefined && !found.has(id))
  return lost && `${lost.id} was acknowledged and is lost`
}

onEachEngine(t, 'each 204 holds after SIGKILL', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const seed = chooseSeed() % 1_000_000
  const random = new Random(seed)
  const all: Posted[] = []
  for (let life = 0; life < RUNS; life++) {
    const args = ['--port', '0', '--engine', engine, directory]
    const { child, exit, origin } = await startServer(args)
    let left = random.int(1, ANSWERS_MAX)
    const loading = load(origin, life, random, () => --left === 0 && child.kill('SIGKILL'))
    const [, signal] = await exit
    all.push(...(await loading))
    t.equal(signal, 'SIGKILL')
    await using log = await Log.open(directory, { engine })
    t.equal(await judge(log, all), undefined, `RIOLOG_SEED=${seed}, life ${life}`)
  }
  const acknowledged = all.filter(({ location }) => location !== undefined).length
  t.comment(`${RUNS} kills from seed ${seed}: ${acknowledged} of ${all.length} acknowledged`)
  t.ok(acknowledged > 0, 'the killed servers had acknowledged something')
})

t.test('SIGTERM: it answers what is under way, closes the log, and ends well', async t => {
  const directory = temporaryDirectory(t)
  const { child, exit, origin } = await startServer(['--port', '0', directory])
  const client = new HttpClient(origin, 1)
  t.equal((await client.post('one')).status, 204)
  child.kill('SIGTERM')
  t.same(await exit, [0, null])
  client.close()
  await using log = await Log.open(directory)
  t.same(
    (await recordsOf(log)).map(({ data }) => String(data)),
    ['one'],
  )
})
