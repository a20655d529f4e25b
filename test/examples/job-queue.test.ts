/** The job queue without crashes: order, leases, retries, trims, and what a new start delivers. */
import t from 'tap'
import { JobQueue, type JobQueueOptions } from '../../examples/job-queue/job-queue.ts'
import { ioError } from '../../src/crash/index.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import type { Log } from '../../src/index.ts'
import { but, openSimulated } from '../support/simulated.ts'

const KIB = 1024

async function openOn(
  device: SimulatedDevice,
  options: JobQueueOptions = {},
  how = (log: Log) => log,
) {
  return JobQueue.on(how(await openSimulated(device)), options)
}

const enqueue = (queue: JobQueue, text: string) => queue.enqueue(Buffer.from(text))

async function takeText(queue: JobQueue): Promise<string> {
  return String((await queue.take()).data)
}

t.test('jobs come in their order, to those who wait, too', async t => {
  const queue = await openOn(new SimulatedDevice())
  const waiting = [takeText(queue), takeText(queue)]
  await Promise.all(['a', 'b', 'c'].map(text => enqueue(queue, text)))
  t.same(await Promise.all(waiting), ['a', 'b'])
  t.equal(await takeText(queue), 'c')
  await queue.close()
})

t.test('a job can be taken when it is durable, and not before', async t => {
  const device = new SimulatedDevice()
  let durable: (() => void) | undefined
  const queue = await openOn(device, {}, log =>
    but(log, {
      appendDurable: async record => {
        const lsn = await log.appendDurable(record)
        await new Promise<void>(resolve => {
          durable = resolve
        })
        return lsn
      },
    }),
  )
  const taking = queue.take()
  let isTaken = false
  void taking.then(() => (isTaken = true))
  const enqueuing = enqueue(queue, 'a')
  while (durable === undefined) await new Promise(setImmediate)
  for (let turns = 0; turns < 10; turns++) await new Promise(setImmediate)
  t.notOk(isTaken)
  durable()
  t.equal((await taking).id, await enqueuing, 'its id is what its enqueuer was told')
  await queue.close()
})

t.test('what is completed never comes again, what is not comes at the next start', async t => {
  const device = new SimulatedDevice()
  let queue = await openOn(device)
  for (const text of ['a', 'b', 'c']) await enqueue(queue, text)
  const [a, b] = [await queue.take(), await queue.take()]
  t.equal(await queue.complete(b), true)
  t.equal(await queue.complete(b), false, 'a second time changes nothing')
  await queue.close()
  queue = await openOn(device)
  t.equal(queue.size, 2)
  const again = await queue.take()
  t.same([again.id, String(again.data), again.attempt], [a.id, 'a', 1])
  t.equal(await takeText(queue), 'c')
  await queue.close()
})

t.test(
  'a retried job comes behind the others, and knows its attempt, also at the next start',
  async t => {
    const device = new SimulatedDevice()
    let queue = await openOn(device)
    for (const text of ['a', 'b']) await enqueue(queue, text)
    const first = await queue.take()
    t.equal(await queue.retry(first), true)
    t.equal(await queue.retry(first), false, 'it is no longer the caller’s')
    t.equal(await takeText(queue), 'b')
    const second = await queue.take()
    t.same([second.id, String(second.data), second.attempt], [first.id, 'a', 2])
    await queue.retry(second)
    await queue.close()
    queue = await openOn(device)
    t.equal(await takeText(queue), 'b')
    const third = await queue.take()
    t.same([third.id, String(third.data), third.attempt], [first.id, 'a', 3])
    t.equal(await queue.complete(third), true)
    await queue.close()
    queue = await openOn(device)
    t.equal(queue.size, 1)
    await queue.close()
  },
)

t.test(
  'a lease that runs out: another one gets the job, and whoever does it first has done it',
  async t => {
    const queue = await openOn(new SimulatedDevice(), { leaseMs: 5 })
    await enqueue(queue, 'a')
    const slow = await queue.take()
    const other = await queue.take()
    t.equal(other.id, slow.id)
    t.equal(await queue.retry(slow), false, 'it has another one now')
    t.equal(await queue.complete(slow), true, 'but done is done')
    t.equal(await queue.complete(other), false)
    t.equal(queue.size, 0)
    await enqueue(queue, 'b')
    t.equal(await takeText(queue), 'b', 'and nothing of it is left')
    await queue.close()
  },
)

t.test(
  'a completion is on its way while the lease runs out: the job does not come again',
  async t => {
    const device = new SimulatedDevice()
    const queue = await openOn(device, { leaseMs: 5 })
    await enqueue(queue, 'a')
    const job = await queue.take()
    device.interference = ({ kind }) =>
      kind === 'sync' ? { kind: 'slow', milliseconds: 40 } : undefined
    const completing = queue.complete(job)
    const next = queue.take()
    t.equal(await queue.complete(job), false, 'one record for each job at a time')
    t.equal(await completing, true)
    await enqueue(queue, 'b')
    t.equal(String((await next).data), 'b')
    await queue.close()
  },
)

t.test(
  'one that is being completed is not given to another, though its lease has run out',
  async t => {
    const queue = await openOn(new SimulatedDevice(), { leaseMs: 5 })
    await enqueue(queue, 'a')
    const job = await queue.take()
    while (queue.ready === 0) await new Promise(setImmediate)
    const completing = queue.complete(job)
    const next = queue.take()
    t.equal(await completing, true)
    await enqueue(queue, 'b')
    t.equal(String((await next).data), 'b')
    await queue.close()
  },
)

t.test('the lease has run out, and the completion fails: the job comes again', async t => {
  let isFull = false
  const queue = await openOn(new SimulatedDevice(), { leaseMs: 5 }, log =>
    but(log, {
      appendDurable: async record => {
        if (isFull) throw new Error('full')
        return log.appendDurable(record)
      },
    }),
  )
  const id = await enqueue(queue, 'a')
  const job = await queue.take()
  while (queue.ready === 0) await new Promise(setImmediate)
  isFull = true
  await t.rejects(queue.complete(job), { message: 'full' })
  t.equal((await queue.take()).id, id)
  await queue.close()
})

t.test('of many workers each gets jobs of its own, and all are done', async t => {
  const device = new SimulatedDevice()
  const queue = await openOn(device)
  const done: string[] = []
  const names = Array.from({ length: 200 }, (_, i) => `job ${i}`)
  const worker = async () => {
    for (;;) {
      const job = await queue.take()
      if (job.attempt === 1 && job.id % 3 === 0) await queue.retry(job)
      else if (await queue.complete(job)) done.push(String(job.data))
      if (done.length === names.length) return queue.close()
    }
  }
  const working = Array.from({ length: 8 }, () => worker().catch(error => error))
  await Promise.all(names.map(name => enqueue(queue, name)))
  const ends = await Promise.all(working)
  t.equal(ends.filter(end => end === undefined).length, 1)
  t.equal(ends.filter(end => end?.message === 'the queue is closed').length, 7)
  t.same([...done].sort(), [...names].sort())
  const reopened = await openOn(device)
  t.equal(reopened.size, 0)
  await reopened.close()
})

t.test('whoever waits can be told to stop, and takes nothing with him', async t => {
  const queue = await openOn(new SimulatedDevice())
  const stop = new AbortController()
  const stopped = queue.take(stop.signal)
  const waits = queue.take()
  stop.abort(new Error('enough'))
  await t.rejects(stopped, { message: 'enough' })
  await t.rejects(queue.take(stop.signal), { message: 'enough' })
  await enqueue(queue, 'a')
  t.equal(String((await waits).data), 'a')
  await queue.close()
  await t.rejects(queue.take(), { message: 'the queue is closed' })
})

t.test(
  'the log is trimmed up to the oldest job, and a job that is retried does not hold it',
  async t => {
    const device = new SimulatedDevice()
    let queue = await openOn(device, { trimBytes: 32 * KIB })
    await enqueue(queue, 'stays')
    const stays = await queue.take()
    const fill = async () => {
      for (let i = 0; i < 40; i++) {
        await queue.enqueue(Buffer.alloc(4 * KIB, i))
        await queue.complete(await queue.take())
      }
    }
    await fill()
    t.ok(queue.log.trimLsn <= stays.id, 'what is not completed stays')
    const held = queue.log.info().segments.length
    t.equal(await queue.retry(stays), true)
    const again = await queue.take()
    await fill()
    t.ok(queue.log.trimLsn > stays.id, 'its new record is behind')
    t.ok(queue.log.info().segments.length <= held, 'and the segments before it are free')
    await queue.close()
    queue = await openOn(device)
    t.equal(queue.size, 1)
    const last = await queue.take()
    t.same([last.id, String(last.data), last.attempt], [again.id, 'stays', 2])
    await queue.close()
  },
)

t.test('a trim takes no job that is durable and not yet known', async t => {
  // Both records become durable by one commit, the completion first: the queue is empty, it seems.
  const device = new SimulatedDevice()
  let queue = await openOn(device, { trimBytes: 1 })
  await enqueue(queue, 'a')
  const job = await queue.take()
  // One trim at a time: the first one is over.
  while (queue.log.trimLsn < job.id) await new Promise(setImmediate)
  for (let turns = 0; turns < 10; turns++) await new Promise(setImmediate)
  await Promise.all([queue.complete(job), enqueue(queue, 'b')])
  await queue.close()
  const { trimLsn } = queue.log
  t.ok(trimLsn > job.id, 'it was trimmed')
  queue = await openOn(device)
  t.equal(queue.size, 1)
  t.equal(await takeText(queue), 'b')
  await queue.close()
})

t.test(
  'a full disk: the job is still its taker’s, and can be completed when there is room',
  async t => {
    const device = new SimulatedDevice()
    const queue = await openOn(device)
    await enqueue(queue, 'a')
    const job = await queue.take()
    device.capacityBytes = 0
    const fill = Buffer.alloc(8 * KIB)
    // Until there is no room for the shortest record, either.
    for (const data of [fill, Buffer.alloc(0)]) {
      let error: unknown
      while (error === undefined) {
        await queue.enqueue(data).catch(thrown => {
          error = thrown
        })
      }
      t.match(error, { code: 'ERR_RIOLOG_NO_SPACE' })
    }
    await t.rejects(queue.complete(job), { code: 'ERR_RIOLOG_NO_SPACE' })
    device.capacityBytes = Number.POSITIVE_INFINITY
    const size = queue.size
    t.equal(await queue.complete(job), true)
    t.equal(queue.size, size - 1)
    await queue.close()
  },
)

t.test(
  'a failed sync: nobody is told that a job is there or done, and a new start decides',
  async t => {
    const device = new SimulatedDevice()
    const queue = await openOn(device)
    await enqueue(queue, 'a')
    const job = await queue.take()
    device.interference = ({ kind }) => (kind === 'sync' ? ioError() : undefined)
    await t.rejects(queue.complete(job), { code: 'ERR_RIOLOG_POISONED' })
    await t.rejects(enqueue(queue, 'b'), { code: 'ERR_RIOLOG_POISONED' })
    t.equal(queue.size, 1)
    await t.rejects(queue.close(), { code: 'ERR_RIOLOG_POISONED' })
    device.interference = undefined
    const reopened = await openOn(device)
    t.equal(await takeText(reopened), 'a', 'it was not durable that it is done')
    await reopened.close()
  },
)
