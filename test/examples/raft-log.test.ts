/** The log of a Raft server without crashes: figure 7, elections, snapshots, and random calls against a plain array. */
import t from 'tap'
import { RaftStorage } from '../../examples/raft-log/raft-storage.ts'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Log } from '../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { but } from '../support/simulated.ts'
import { Driver } from './raft-driver.ts'
import { dataOf, EMPTY, randomStep } from './raft-model.ts'
import { openBeside } from './side-by-side.ts'

async function openOn(device: SimulatedDevice): Promise<RaftStorage> {
  const disk = new SimulatedDisk(device)
  return RaftStorage.on(await openBeside(disk, 'entries'), await openBeside(disk, 'state'))
}

const entriesOf = (terms: readonly number[], from = 1) =>
  terms.map((term, i) => ({ term, data: dataOf(from + i, term) }))

/** A server whose log has entries of these terms. */
async function withTerms(terms: readonly number[], device = new SimulatedDevice()) {
  const storage = await openOn(device)
  const entries = entriesOf(terms)
  const term = terms.at(-1) ?? 0
  await storage.appendEntries({ term, prevLogIndex: 0, prevLogTerm: 0, entries })
  return storage
}

const termsOf = (storage: RaftStorage) =>
  Array.from({ length: storage.lastIndex }, (_, i) => storage.termAt(i + 1))

// Figure 7 of the paper: what a leader of term 8 may find in its followers.
const LEADER = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
const FOLLOWERS = {
  a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
  b: [1, 1, 1, 4],
  c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
  d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
  e: [1, 1, 1, 4, 4, 4, 4],
  f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}
/** How often the leader has to go back by one until the logs agree. */
const REFUSALS = { a: 1, b: 6, c: 0, d: 0, e: 5, f: 7 }

for (const [name, terms] of Object.entries(FOLLOWERS)) {
  t.test(`figure 7, follower ${name}: it comes to have the leader's log, and keeps it`, async t => {
    const device = new SimulatedDevice()
    const storage = await withTerms(terms, device)
    const all = [...LEADER, 8]
    let prev = LEADER.length
    let refusals = 0
    for (;;) {
      const prevLogTerm = prev === 0 ? 0 : all[prev - 1]
      const entries = entriesOf(all.slice(prev), prev + 1)
      const request = { term: 8, prevLogIndex: prev, prevLogTerm, entries }
      const { success, term } = await storage.appendEntries(request)
      t.equal(term, 8)
      if (success) break
      t.same(termsOf(storage), terms, 'a message that is refused changes nothing')
      refusals++
      prev--
    }
    t.equal(refusals, REFUSALS[name as keyof typeof REFUSALS])
    t.same(termsOf(storage), all)
    await storage.close()
    const reopened = await openOn(device)
    t.same(termsOf(reopened), all)
    t.same(
      (await reopened.entries(1, 99)).map(({ data }) => data),
      all.map((term, i) => dataOf(i + 1, term)),
    )
    await reopened.close()
  })
}

t.test('a message that comes late takes nothing back, one of an old term does nothing', async t => {
  const storage = await withTerms([1, 1, 2, 2])
  const late = { prevLogIndex: 1, prevLogTerm: 1, entries: entriesOf([1], 2) }
  t.same(await storage.appendEntries({ term: 2, ...late }), { term: 2, success: true })
  t.same(termsOf(storage), [1, 1, 2, 2], 'what is behind it stays')
  const conflicting = { prevLogIndex: 1, prevLogTerm: 1, entries: entriesOf([1, 1], 2) }
  t.same(await storage.appendEntries({ term: 1, ...conflicting }), { term: 2, success: false })
  t.same(termsOf(storage), [1, 1, 2, 2])
  await t.rejects(storage.propose(1, [Buffer.of(1)]), { code: 'ERR_RAFT_STALE_TERM' })
  t.same(termsOf(storage), [1, 1, 2, 2])
  await storage.close()
})

t.test(
  'one vote in a term, for one with all that this server has, also once it is opened again',
  async t => {
    const device = new SimulatedDevice()
    let storage = await withTerms([1, 1, 3], device)
    const ask = (term: number, candidateId: string, lastLogIndex: number, lastLogTerm: number) =>
      storage.requestVote({ term, candidateId, lastLogIndex, lastLogTerm })
    t.same(await ask(2, 'old', 9, 2), { term: 3, voteGranted: false }, 'a term that is over')
    t.same(await ask(4, 'short', 2, 3), { term: 4, voteGranted: false }, 'a shorter log')
    t.same(
      await ask(4, 'long', 9, 2),
      { term: 4, voteGranted: false },
      'a longer one, of older terms',
    )
    t.same(await ask(4, 'first', 3, 3), { term: 4, voteGranted: true })
    t.same(await ask(4, 'second', 9, 3), { term: 4, voteGranted: false })
    await storage.close()
    storage = await openOn(device)
    t.equal(storage.term, 4)
    t.equal(storage.votedFor, 'first')
    t.same(await ask(4, 'second', 9, 3), { term: 4, voteGranted: false })
    t.same(await ask(4, 'first', 3, 3), { term: 4, voteGranted: true }, 'its message came twice')
    t.same(await ask(5, 'second', 9, 3), { term: 5, voteGranted: true })
    t.equal(await storage.startElection('me'), 6)
    t.same(await ask(6, 'second', 9, 3), { term: 6, voteGranted: false }, 'it has its own vote')
    await storage.close()
  },
)

t.test('of two who ask for a vote at once one gets it', async t => {
  const storage = await openOn(new SimulatedDevice())
  const answers = await Promise.all(
    ['a', 'b', 'c'].map(candidateId =>
      storage.requestVote({ term: 1, candidateId, lastLogIndex: 0, lastLogTerm: 0 }),
    ),
  )
  t.same(
    answers.map(({ voteGranted }) => voteGranted),
    [true, false, false],
  )
  t.equal(storage.votedFor, 'a')
  await storage.close()
})

t.test('hundreds of ballots take some segments, and the newest counts', async t => {
  const device = new SimulatedDevice()
  const storage = await openOn(device)
  for (let term = 1; term <= 300; term++) await storage.startElection(`candidate ${term % 3}`)
  await storage.close()
  const files = device.names().filter(name => name.startsWith('state.'))
  t.ok(files.length < 10, `${files.length} files`)
  const reopened = await openOn(device)
  t.equal(reopened.term, 300)
  t.equal(reopened.votedFor, 'candidate 0')
  await reopened.close()
})

t.test('compacting keeps the term of the last entry that is in the snapshot', async t => {
  const device = new SimulatedDevice()
  let storage = await withTerms([1, 1, 2, 2, 3], device)
  await storage.compact(3)
  await storage.compact(2) // which changes nothing
  await t.rejects(storage.compact(6), { code: 'ERR_RAFT_NO_ENTRY' })
  for (const when of ['at once', 'once it is opened again']) {
    t.equal(storage.baseIndex, 3, when)
    t.same([storage.termAt(2), storage.termAt(3)], [undefined, 2], when)
    await t.rejects(storage.entries(3, 1), { code: 'ERR_RAFT_COMPACTED' }, when)
    t.same(
      (await storage.entries(4, 9)).map(({ term }) => term),
      [2, 3],
      when,
    )
    await storage.close()
    storage = await openOn(device)
  }
  const behind = { prevLogIndex: 3, entries: entriesOf([4], 4) }
  t.notOk((await storage.appendEntries({ term: 4, prevLogTerm: 1, ...behind })).success)
  t.ok((await storage.appendEntries({ term: 4, prevLogTerm: 2, ...behind })).success)
  t.same([storage.termAt(4), storage.lastIndex], [4, 4], 'a conflict right behind the snapshot')
  const within = { prevLogIndex: 1, prevLogTerm: 1, entries: entriesOf([1, 2, 4, 4], 2) }
  t.ok((await storage.appendEntries({ term: 4, ...within })).success, 'a message that overlaps it')
  t.same([storage.termAt(5), storage.lastIndex], [4, 5])
  const wrong = { prevLogIndex: 2, prevLogTerm: 1, entries: entriesOf([4], 3) }
  await t.rejects(storage.appendEntries({ term: 4, ...wrong }), { code: 'ERR_RAFT_COMMITTED' })
  await storage.close()
})

t.test(
  'entries that are on their way are durable before the log is compacted up to them',
  async t => {
    const device = new SimulatedDevice()
    const storage = await openOn(device)
    const term = await storage.startElection('me')
    const proposing = storage.propose(term, [dataOf(1, term), dataOf(2, term), dataOf(3, term)])
    await storage.compact(3)
    t.same([storage.baseIndex, storage.termAt(3)], [3, term])
    t.equal(await proposing, 3)
    await storage.close()
    const reopened = await openOn(device)
    t.same([reopened.baseIndex, reopened.lastIndex], [3, 3])
    await reopened.close()
  },
)

t.test('the first entry is in the snapshot: that is known once it is opened again', async t => {
  const device = new SimulatedDevice()
  const storage = await withTerms([1, 1], device)
  await storage.compact(1)
  await storage.close()
  const reopened = await openOn(device)
  t.equal(reopened.baseIndex, 1)
  t.same(
    (await reopened.entries(2, 9)).map(({ index }) => index),
    [2],
  )
  await reopened.close()
})

t.test(
  'a leader’s snapshot takes the place of a log that lacks its end, or contradicts it',
  async t => {
    for (const terms of [[], [1], [1, 1, 1, 2, 2, 2]]) {
      const device = new SimulatedDevice()
      const storage = await withTerms(terms, device)
      const snapshot = { term: 5, lastIncludedIndex: 5, lastIncludedTerm: 4 }
      t.same(await storage.installSnapshot({ ...snapshot, term: 0 }), { term: terms.at(-1) ?? 0 })
      t.same(await storage.installSnapshot(snapshot), { term: 5 })
      await storage.close()
      const reopened = await openOn(device)
      t.same([reopened.baseIndex, reopened.lastIndex, reopened.lastTerm], [5, 5, 4])
      const late = { term: 5, lastIncludedIndex: 3, lastIncludedTerm: 4 }
      await reopened.installSnapshot(late)
      t.same(
        [reopened.baseIndex, reopened.lastIndex],
        [5, 5],
        'one that comes late takes nothing back',
      )
      const next = { term: 5, prevLogIndex: 5, prevLogTerm: 4, entries: entriesOf([5], 6) }
      t.ok((await reopened.appendEntries(next)).success)
      t.equal(reopened.lastIndex, 6)
      await reopened.close()
    }
  },
)

t.test('where the end of the snapshot is in the log, what is behind it stays', async t => {
  const storage = await withTerms([1, 1, 2, 2])
  await storage.installSnapshot({ term: 2, lastIncludedIndex: 3, lastIncludedTerm: 2 })
  t.same([storage.baseIndex, storage.lastIndex], [3, 4])
  await storage.close()
})

t.test('an entry of a term that the server does not know is told, not guessed at', async t => {
  const device = new SimulatedDevice()
  await (await withTerms([1, 2], device)).close()
  for (const name of device.names()) if (name.startsWith('state.')) device.removeFile(name)
  await t.rejects(openOn(device), { code: 'ERR_RAFT_CORRUPT' })
})

t.test('messages that come together share their syncs', async t => {
  const disk = new SimulatedDisk(new SimulatedDevice())
  const log = await openBeside(disk, 'entries')
  const storage = await RaftStorage.on(log, await openBeside(disk, 'state'))
  const term = await storage.startElection('me')
  const before = log.metrics().groups
  const indexes = await Promise.all(
    Array.from({ length: 50 }, (_, i) => storage.propose(term, [dataOf(i + 1, term)])),
  )
  t.same([indexes[0] >= 1, indexes[49]], [true, 50])
  t.ok(log.metrics().groups - before <= 5, `${log.metrics().groups - before} commits for 50`)
  await storage.close()
})

t.test(
  'a message that is larger than the memory for records on their way waits for it',
  async t => {
    const disk = new SimulatedDisk(new SimulatedDevice())
    let drains = 0
    const log = await openBeside(disk, 'entries')
    const drain = () => {
      drains++
      return log.drain()
    }
    const counted = but(log, { drain })
    const storage = await RaftStorage.on(counted, await openBeside(disk, 'state'))
    const entries = Array.from({ length: 400 }, () => ({ term: 1, data: Buffer.alloc(8000, 7) }))
    const request = { term: 1, prevLogIndex: 0, prevLogTerm: 0, entries }
    t.ok((await storage.appendEntries(request)).success)
    t.ok(drains > 0)
    t.equal(storage.lastIndex, 400)
    await storage.close()
  },
)

onEachEngine(t, 'random calls, against a plain array', async (t, engine) => {
  const seed = chooseSeed() % 1_000_000
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const directory = temporaryDirectory(t)
  const open = () => RaftStorage.open(directory, { engine, segmentSize: 1 << 20 })
  const none = () => {}
  const witness = { begun: none, answered: none, granted: none, changed: none }
  let storage = await open()
  let driver = new Driver(storage, witness, { state: EMPTY })
  const outcomes = new Set<string>()
  try {
    for (let count = 0; count < 400; count++) {
      await driver.do(randomStep(random))
      await driver.check()
      for (const outcome of driver.outcomes.keys()) outcomes.add(outcome)
      if (!random.chance(0.03)) continue
      await storage.close()
      storage = await open()
      const { state, cluster } = driver
      driver = new Driver(storage, witness, { state, cluster })
      await driver.check()
    }
  } finally {
    await storage.close()
  }
  for (const outcome of ['append true', 'append false', 'vote true', 'vote false']) {
    t.ok(outcomes.has(outcome), outcome)
  }
  await using log = await Log.open(`${directory}/entries`, { readOnly: true })
  t.ok(log.trimLsn > 0, 'it was compacted')
})
