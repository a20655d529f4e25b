/** Who waits for a group is told once, of the right LSN, in the order of their records. */
import t from 'tap'
import { RiologError } from '../../../src/errors.ts'
import { Telling, Waiters } from '../../../src/log/commit/waiters.ts'

/** Promises are settled and have gone on. */
const turn = () => new Promise(setImmediate)

const LSNS = [64, 4096, 2 ** 31, 2 ** 40 + 8, 2 ** 53 - 8]

for (const count of [1, 2, 3, LSNS.length]) {
  t.test(`${count} promises of records`, async t => {
    const waiters = new Waiters(new Telling())
    const told: number[] = []
    for (const lsn of LSNS.slice(0, count)) waiters.promise(lsn).then(lsn => told.push(lsn))
    await turn()
    t.same(told, [])
    resolveAll(waiters)
    t.same(told, [], 'behind those who resolve them')
    await turn()
    t.same(told, LSNS.slice(0, count))
  })
}

function resolveAll(waiters: Waiters): void {
  waiters.resolvePromises()
  waiters.callAll()
}

t.test(
  'a group whose memory is used again before those of the one before have gone on',
  async t => {
    const waiters = new Waiters(new Telling())
    const told: number[] = []
    const tell = (lsn: number) => told.push(lsn)
    const group = (from: number, count: number) => {
      for (let lsn = from; lsn < from + count; lsn++) waiters.promise(lsn).then(tell)
      resolveAll(waiters)
    }
    for (let i = 0; i < 4; i++) group(10 * i, 5)
    await turn()
    t.same(
      [...told].sort((a, b) => a - b),
      [0, 10, 20, 30].flatMap(from => [0, 1, 2, 3, 4].map(i => from + i)),
    )
    for (const from of [0, 10, 20, 30]) {
      t.same(
        told.filter(lsn => lsn >= from && lsn < from + 10),
        [0, 1, 2, 3, 4].map(i => from + i),
      )
    }
  },
)

t.test('and while they go on', async t => {
  const waiters = new Waiters(new Telling())
  const told: string[] = []
  let records = 0
  const caller = async (name: number) => {
    for (let i = 0; i < 50; i++) {
      const lsn = records++
      const promise = waiters.promise(lsn)
      if (await promise.then(given => given !== lsn)) told.push(`${name} was told of another's`)
      // Now and then by two records at once.
      if (i % 7 === name)
        await Promise.all([waiters.promise(records++), waiters.promise(records++)])
    }
  }
  let running = true
  const callers = Promise.all([0, 1, 2, 3, 4].map(caller)).then(() => {
    running = false
  })
  // Also before the microtasks of the one before are through.
  for (let i = 0; running; i++) {
    if (i % 3 === 0) await Promise.resolve()
    if (i % 3 === 1) await turn()
    resolveAll(waiters)
  }
  await callers
  t.same(told, [])
  t.ok(records > 250)
})

t.test('of two groups that are durable at once the later one goes on later', async t => {
  const telling = new Telling()
  const groups = Array.from({ length: 5 }, () => new Waiters(telling))
  const [many, one, madeBefore, flushed, last] = groups
  const told: number[] = []
  const tell = (lsn: number) => told.push(lsn)
  for (let lsn = 0; lsn < 4; lsn++) many.promise(lsn).then(tell)
  one.promise(4).then(tell)
  new Promise<number>((resolve, reject) => madeBefore.addPromise(resolve, reject, 5)).then(tell)
  madeBefore.promise(6).then(tell)
  flushed.promiseOf(() => 7).then(tell)
  last.promise(8).then(tell)
  for (const group of groups) resolveAll(group)
  await turn()
  t.same(told, [0, 1, 2, 3, 4, 5, 6, 7, 8])
  t.equal(telling.due, 0)
  let wasOne = false
  one.promise(9).then(() => {
    wasOne = true
  })
  resolveAll(one)
  await Promise.resolve()
  t.ok(wasOne, 'alone it goes on at once')
})

t.test('promises of records, of what is true then, and those that were made before', async t => {
  const waiters = new Waiters(new Telling())
  const told: unknown[] = []
  const tell = (value: unknown) => told.push(value)
  let durable = 'not yet' as string | number
  new Promise<number>((resolve, reject) => waiters.addPromise(resolve, reject, 1)).then(tell)
  waiters.promise(2).then(tell)
  waiters.promiseOf(() => durable as number).then(tell)
  waiters.promise(3).then(tell)
  waiters.addCallback((error, lsn) => tell([error, lsn]), 4)
  durable = 5
  resolveAll(waiters)
  t.same(told, [[undefined, 4]])
  await turn()
  t.same(told, [[undefined, 4], 1, 2, 5, 3])
  resolveAll(waiters)
  await turn()
  t.equal(told.length, 5, 'once')
})

t.test('a poison is told to each of them, once, and nobody is left unhandled', async t => {
  const waiters = new Waiters(new Telling())
  const poison = new RiologError('ERR_RIOLOG_POISONED', 'poisoned')
  const told: unknown[] = []
  const tell = (value: unknown) => told.push(value)
  const unhandled: unknown[] = []
  const note = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', note)
  new Promise<number>((resolve, reject) => waiters.addPromise(resolve, reject, 1)).catch(tell)
  for (let i = 0; i < 3; i++) waiters.promise(i).catch(tell)
  waiters.promiseOf(() => 0).catch(tell)
  waiters.addCallback(tell, 4)
  waiters.rejectAll(poison)
  await turn()
  process.off('unhandledRejection', note)
  t.equal(told.length, 6)
  t.ok(told.every(value => value === poison))
  t.same(unhandled, [])
})
