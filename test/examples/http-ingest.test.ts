/** The ingest server on a simulated disk: what each client is told, and what is in the log then. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import t from 'tap'
import { type IngestOptions, IngestServer } from '../../examples/http-ingest/ingest-server.ts'
import { ioError } from '../../src/crash/index.ts'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import type { Test } from '../support/engines.ts'
import { openSimulated, recordsOf, withFiles } from '../support/simulated.ts'
import { HttpClient } from './http-client.ts'

const KIB = 1024

/** Commits wait while it is shut. */
class Gate {
  #waiting: (() => void)[] | undefined
  waits = 0

  shut(): void {
    this.#waiting = []
  }

  open(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const run of waiting) run()
  }

  pass(run: () => void): void {
    if (this.#waiting === undefined) run()
    else this.waits = this.#waiting.push(run)
  }
}

/** A server on a device, behind a gate; it ends with the test. */
async function serve(
  t: Test,
  device = new SimulatedDevice(),
  options: IngestOptions = {},
  logOptions: LogOptions = {},
) {
  const gate = new Gate()
  const disk = withFiles(new SimulatedDisk(device), file => ({
    commit: (...commit) => gate.pass(() => file.commit(...commit)),
  }))
  const checked = checkOptions({ segmentSize: 64 * KIB, ...logOptions })
  const log = await Log.openOn(disk, 'simulated', checked)
  const server = new IngestServer(log, options)
  server.http.listen(0, '127.0.0.1')
  await once(server.http, 'listening')
  const { port } = server.http.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  const client = new HttpClient(origin, 1000)
  t.teardown(async () => {
    gate.open()
    client.close()
    await server.close().catch(() => {})
  })
  return { device, gate, log, server, origin, client }
}

const turns = async (count: number) => {
  for (let left = count; left > 0; left--) await new Promise(setImmediate)
}

const textsOf = async (log: Log) => (await recordsOf(log)).map(({ data }) => String(data))

/** The lines of a list as what was posted. */
const linesOf = (body: Buffer): { lsn: number; text: string }[] =>
  String(body)
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
    .map(({ lsn, data }) => ({ lsn, text: String(Buffer.from(data, 'base64')) }))

t.test('what is posted can be read, one by one and from a place on', async t => {
  const { client, log } = await serve(t)
  const places: string[] = []
  for (const text of ['one', '', 'three \u0000\n']) {
    const { status, headers, body } = await client.post(text)
    t.equal(status, 204)
    t.equal(body.length, 0)
    places.push(headers.location!)
  }
  const read = await client.get(places[2])
  t.equal(read.status, 200)
  t.equal(String(read.body), 'three \u0000\n')
  t.equal((await client.get(places[1])).body.length, 0)
  const all = linesOf((await client.get('/records')).body)
  t.same(
    all.map(({ text }) => text),
    ['one', '', 'three \u0000\n'],
  )
  t.same(
    all.map(({ lsn }) => `/records/${lsn}`),
    places,
  )
  const from = `from=${all[1].lsn}`
  t.same(linesOf((await client.get(`/records?${from}`)).body), all.slice(1))
  t.same(linesOf((await client.get(`/records?${from}&limit=1`)).body), all.slice(1, 2))
  t.same(linesOf((await client.get('/records?limit=0')).body), [])
  const health = await client.get('/health')
  t.equal(health.status, 200)
  t.same(JSON.parse(String(health.body)), { status: 'ok', durableLsn: log.durableLsn })
})

t.test('what nobody can be given is refused by a status', async t => {
  const { client, log } = await serve(t)
  await client.post('one')
  const { lsn } = (await recordsOf(log))[0]
  const refusals = {
    'GET /': 404,
    'GET /records/x': 404,
    [`GET /records/${lsn + 8}`]: 404,
    'GET /records?from=-1': 400,
    'GET /records?limit=1e3': 400,
    'GET /records?from=9999999999999999999': 400,
    'PUT /records': 405,
    'POST /health': 405,
  }
  for (const [what, status] of Object.entries(refusals)) {
    const [method, path] = what.split(' ')
    t.equal((await client.ask(method, path)).status, status, what)
  }
  t.equal((await client.ask('DELETE', '/records')).headers.allow, 'GET, POST')
  await client.post('two')
  await log.trim(log.durableLsn)
  t.equal((await client.get(`/records/${lsn}`)).status, 410, 'trimmed')
})

t.test('too long: 413, with and without a length, and the connection goes on', async t => {
  const { log, origin } = await serve(t, new SimulatedDevice(), { maxBodyBytes: 1000 })
  const client = new HttpClient(origin, 1)
  t.equal((await client.post(Buffer.alloc(1000, 1))).status, 204)
  t.equal((await client.post(Buffer.alloc(1001, 2))).status, 413)
  for (const length of [1001, 8 * 1024 * KIB]) {
    const response = await client.begin('POST', '/records', Buffer.alloc(length, 3), true)
    t.equal(response.statusCode, 413)
    response.resume()
    await once(response, 'end')
  }
  t.equal((await client.post('small')).status, 204)
  t.same(
    (await recordsOf(log)).map(({ data }) => data.length),
    [1000, 5],
  )
  client.close()
})

t.test('nobody is answered before the body is durable', async t => {
  const { device, gate, client } = await serve(t)
  await client.post('before')
  gate.shut()
  let isAnswered = false
  const posting = client.post('body').finally(() => {
    isAnswered = true
  })
  while (gate.waits === 0) await turns(1)
  await turns(50)
  t.notOk(isAnswered)
  const lost = await openSimulated(device.snapshot().afterPowerCut(() => false))
  t.same(await textsOf(lost), ['before'], 'a power cut would have taken it')
  await lost.close()
  gate.open()
  t.equal((await posting).status, 204)
  const kept = await openSimulated(device.snapshot().afterPowerCut(() => false))
  t.same(await textsOf(kept), ['before', 'body'])
  await kept.close()
})

t.test(
  'a disk that is behind: 503 with Retry-After, and what was refused is taken later',
  async t => {
    const { gate, client, log } = await serve(
      t,
      new SimulatedDevice(),
      { retryAfterS: 7, maxWaiting: 20 },
      {
        maxBufferedBytes: 2 * 1024 * KIB,
      },
    )
    const bodies = Array.from({ length: 600 }, (_, i) => Buffer.alloc(8 * KIB, `${i} `))
    gate.shut()
    let refused = 0
    const posting = bodies.map(async body => {
      const answer = await client.post(body)
      if (answer.status === 503) refused++
      return answer
    })
    while (refused === 0) await turns(1)
    gate.open()
    const answers = await Promise.all(posting)
    const statuses = answers.map(({ status }) => status)
    t.same([...new Set(statuses)].sort(), [204, 503])
    t.ok(
      answers.every(({ status, headers }) => (status === 503) === (headers['retry-after'] === '7')),
      'whoever is refused is told for how long',
    )
    const taken = bodies.filter((_, i) => statuses[i] === 204)
    const sorted = (list: readonly Buffer[]) => [...list].sort(Buffer.compare)
    t.same(
      sorted((await recordsOf(log)).map(({ data }) => data)),
      sorted(taken),
      'what was refused was not taken',
    )
    for (const body of bodies.filter((_, i) => statuses[i] === 503)) {
      let status = 503
      while (status === 503) status = (await client.post(body)).status
      if (status !== 204) t.fail(`${status}`)
    }
    t.same(sorted((await recordsOf(log)).map(({ data }) => data)), sorted(bodies))
  },
)

t.test('a disk that is behind for a moment: some wait, and nobody is refused', async t => {
  const { gate, client, log } = await serve(t)
  const { drain } = log
  let drains = 0
  log.drain = () => {
    drains++
    return drain.call(log)
  }
  gate.shut()
  const posting = Promise.all(Array.from({ length: 60 }, () => client.post(Buffer.alloc(8 * KIB))))
  while (drains === 0) await turns(1)
  gate.open()
  t.same(new Set((await posting).map(({ status }) => status)), new Set([204]))
  t.equal((await recordsOf(log)).length, 60)
})

t.test('a full disk: 507, nothing is lost, and it goes on when there is room', async t => {
  const { device, client, log } = await serve(t)
  t.equal((await client.post('first')).status, 204)
  device.capacityBytes = 0
  const statuses = new Set<number>()
  while (!statuses.has(507)) statuses.add((await client.post(Buffer.alloc(8 * KIB))).status)
  t.same(
    [...statuses].filter(status => ![204, 503, 507].includes(status)),
    [],
  )
  t.equal((await client.get('/records?limit=1')).status, 200)
  device.capacityBytes = Number.POSITIVE_INFINITY
  let status = 507
  while (status === 507 || status === 503) status = (await client.post('last')).status
  t.equal(status, 204)
  const texts = await textsOf(log)
  t.same([texts[0], texts.at(-1)], ['first', 'last'])
})

t.test(
  'a failed sync: 500, health fails, reads go on, and a new start takes records again',
  async t => {
    const device = new SimulatedDevice()
    const { client, server } = await serve(t, device)
    const { headers } = await client.post('durable')
    device.interference = ({ kind }) => (kind === 'sync' ? ioError() : undefined)
    const answers = await Promise.all(['a', 'b', 'c'].map(text => client.post(text)))
    t.same(
      answers.map(({ status }) => status),
      [500, 500, 500],
    )
    t.match(String(answers[0].body), /^ERR_RIOLOG_POISONED\n$/, 'and nothing of files')
    t.equal((await client.get('/health')).status, 500)
    t.equal((await client.post('later')).status, 500)
    t.equal(String((await client.get(headers.location!)).body), 'durable')
    t.same(
      linesOf((await client.get('/records')).body).map(({ text }) => text),
      ['durable'],
    )
    await t.rejects(server.close(), { code: 'ERR_RIOLOG_POISONED' })
    device.interference = undefined
    const again = await serve(t, device)
    t.equal((await again.client.get('/health')).status, 200)
    t.equal((await again.client.post('again')).status, 204)
    const texts = await textsOf(again.log)
    t.same([texts[0], texts.at(-1)], ['durable', 'again'])
  },
)

t.test('damage is no list that is too short: the answer breaks off', async t => {
  const device = new SimulatedDevice()
  const { client, log } = await serve(t, device)
  await client.post('one')
  await client.post('two')
  const [, { lsn }] = await recordsOf(log)
  const name = device.names().find(name => name.endsWith('.seg'))!
  const { segmentSize } = log.info()
  device.damage(name, bytes => {
    bytes[lsn % segmentSize] ^= 1
    return undefined
  })
  await t.rejects(client.get('/records'), { code: 'ECONNRESET' })
  t.equal((await client.get(`/records/${lsn}`)).status, 500)
})

t.test('a follower gets what was there, and each that comes', async t => {
  const { client, log } = await serve(t)
  const { tail } = log
  let signal: AbortSignal | undefined
  log.tail = options => {
    signal = options?.signal
    return tail.call(log, options)
  }
  await client.post('one')
  const response = await client.begin('GET', '/records?follow')
  const lines = createInterface(response)[Symbol.asyncIterator]()
  const next = async () => {
    const { value } = await lines.next()
    return String(Buffer.from(JSON.parse(value).data, 'base64'))
  }
  t.equal(await next(), 'one')
  for (const text of ['two', 'three']) {
    await client.post(text)
    t.equal(await next(), text)
  }
  response.destroy()
  if (signal?.aborted === false) await once(signal, 'abort')
  t.equal(signal?.aborted, true, 'when it leaves, nobody waits for the log any more')
})

t.test(
  'the end: who is under way is answered, followers come to their end, others are refused',
  async t => {
    const { device, gate, client, server } = await serve(t)
    await client.post('one')
    const following = client.get('/records?follow')
    const headOfFollower = await client.begin('GET', '/records?follow&limit=1')
    headOfFollower.resume()
    gate.shut()
    const posting = client.post('two')
    while (gate.waits === 0) await turns(1)
    const closing = server.close()
    t.same(
      linesOf((await following).body).map(({ text }) => text),
      ['one'],
      'whole, not broken off',
    )
    const late = client.get('/health').then(
      ({ status }) => `${status}`,
      ({ code }) => `${code}`,
    )
    t.match(await late, /^(503|ECONN)/)
    gate.open()
    t.equal((await posting).status, 204)
    await closing
    const reopened = await openSimulated(device.snapshot())
    t.same(await textsOf(reopened), ['one', 'two'])
    await reopened.close()
  },
)

t.test('whoever sends a part and no more does not hold up the end', async t => {
  const { client, server, origin } = await serve(t, new SimulatedDevice(), { graceMs: 20 })
  const { connect } = await import('node:net')
  const socket = connect(Number(new URL(origin).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /records HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf')
  t.equal((await client.post('whole')).status, 204)
  const isClosed = once(socket, 'close')
  await server.close()
  await isClosed
  t.pass('closed')
})
