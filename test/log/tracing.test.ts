/** The tracing channels of opens, flushes, trims, rewinds and closes. */
import { type TracingChannelSubscribers, tracingChannel } from 'node:diagnostics_channel'
import t from 'tap'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import type { TraceContext } from '../../src/index.ts'
import { traced } from '../../src/log/tracing.ts'
import { payloadOf } from '../support/oracle.ts'
import { openSimulated } from '../support/simulated.ts'

type Event = [name: string, step: string, lsn: number | undefined, outcome: unknown]

function listen(events: Event[]): () => void {
  const stops = ['open', 'flush', 'trim', 'rewind', 'close'].map(name => {
    const channel = tracingChannel<unknown, TraceContext>(`riolog:${name}`)
    const note = (step: string) => (message: TraceContext) => {
      const { path, lsn, error, result } = message
      if (path !== 'simulated') return
      const failure = error as { code?: string } | undefined
      events.push([name, step, lsn, failure?.code ?? typeof result])
    }
    const subscribers: TracingChannelSubscribers<TraceContext> = {
      start: note('start'),
      end: note('end'),
      asyncStart: note('asyncStart'),
      asyncEnd: note('asyncEnd'),
      error: note('error'),
    }
    channel.subscribe(subscribers)
    return () => channel.unsubscribe(subscribers)
  })
  return () => {
    for (const stop of stops) stop()
  }
}

t.test('each step of what takes its time is told, with its outcome', async t => {
  const device = new SimulatedDevice()
  const events: Event[] = []
  const stop = listen(events)
  const log = await openSimulated(device)
  const lsns = log.appendBatch([payloadOf(1, 10), payloadOf(2, 10), payloadOf(3, 10)])
  await log.flush()
  await log.trim(lsns[1])
  await log.rewind(lsns[2])
  await t.rejects(log.rewind(lsns[0]), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
  await t.rejects(openSimulated(device, { expectedEpoch: 9 }), { code: 'ERR_RIOLOG_FENCED' })
  const good = (name: string, lsn: number | undefined, outcome: string): Event[] => [
    [name, 'start', lsn, 'undefined'],
    [name, 'end', lsn, 'undefined'],
    [name, 'asyncStart', lsn, outcome],
    [name, 'asyncEnd', lsn, outcome],
  ]
  const bad = (name: string, lsn: number | undefined, code: string): Event[] => [
    [name, 'start', lsn, 'undefined'],
    [name, 'end', lsn, 'undefined'],
    [name, 'error', lsn, code],
    [name, 'asyncStart', lsn, code],
    [name, 'asyncEnd', lsn, code],
  ]
  t.same(events, [
    ...good('open', undefined, 'object'),
    ...good('flush', undefined, 'number'),
    ...good('trim', lsns[1], 'number'),
    ...good('rewind', lsns[2], 'undefined'),
    ...bad('rewind', lsns[0], 'ERR_RIOLOG_TRIMMED'),
    ...good('close', undefined, 'undefined'),
    ...bad('open', undefined, 'ERR_RIOLOG_FENCED'),
  ])
  const told = events.length
  stop()
  await (await openSimulated(device)).close()
  t.equal(events.length, told, 'nothing once nobody listens')
})

t.test('without a subscriber the operation runs as it is', async t => {
  const promise = Promise.resolve(1)
  t.equal(
    traced('flush', 'simulated', () => promise),
    promise,
    'the same promise',
  )
  for (const step of ['start', 'error', 'asyncEnd'] as const) {
    const channel = tracingChannel<unknown, TraceContext>('riolog:flush')[step]
    let contexts = 0
    const count = () => {
      contexts++
    }
    channel.subscribe(count)
    t.equal(await traced('flush', 'simulated', () => promise), 1)
    await t.rejects(traced('flush', 'simulated', () => Promise.reject(new Error('no'))))
    t.equal(contexts, step === 'error' ? 1 : 2, `one who listens to ${step} only is told`)
    channel.unsubscribe(count)
  }
})
