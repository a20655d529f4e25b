/** The judge of the kill tests finds out each thing that a log may not do: each of these would be a lost bet. */
import t from 'tap'
import { type Found, Judge } from './judge.ts'
import { IDS_A_LIFE, makeRecord } from './payload.ts'

/** Record n of life 0 stands at LSN 100 * (n + 1). */
const lsnOf = (id: number) => 100 * (id + 1)

function found(...ids: number[]): Found[] {
  return ids.map(id => ({
    lsn: lsnOf(id),
    data: makeRecord({ id, batchFirst: id, batchCount: 1 }, 40),
  }))
}

function batch(first: number, count: number): Found[] {
  return Array.from({ length: count }, (_, i) => ({
    lsn: lsnOf(first + i),
    data: makeRecord({ id: first + i, batchFirst: first, batchCount: count }, 40),
  }))
}

interface Case {
  readonly name: string
  /** What the writer had said. */
  readonly said: string[]
  readonly found: Found[]
  readonly trimLsn?: number
  /** Undefined: nothing is wrong. */
  readonly wrong?: RegExp
  /** Ids came in any order; they did not. */
  readonly unordered?: true
}

const ACKED = ['+ 100 0', '+ 200 1', '+ 300 2']
const changed = found(0, 1, 2)
changed[1].data[39] ^= 1
const swapped = found(0, 1, 2).map(({ data }, i) => ({ lsn: lsnOf(i), data }))
;[swapped[0].data, swapped[1].data].forEach((data, i) => {
  swapped[1 - i] = { lsn: lsnOf(1 - i), data }
})

const CASES: Case[] = [
  { name: 'all that was acknowledged', said: ACKED, found: found(0, 1, 2) },
  { name: 'and more that was appended', said: ACKED, found: found(0, 1, 2, 3) },
  { name: 'the last one lost', said: ACKED, found: found(0, 1), wrong: /LSN 300 is lost/ },
  { name: 'all lost', said: ACKED, found: [], wrong: /LSN 100 is lost/ },
  { name: 'a changed byte', said: ACKED, found: changed, wrong: /LSN 200 has other bytes/ },
  { name: 'two that swapped places', said: ACKED, found: swapped, wrong: /LSN 100 has id 1/ },
  {
    name: 'one twice',
    said: ACKED,
    found: [...found(0, 1, 2), { lsn: 900, data: found(2)[0].data }],
    wrong: /id 2 is there twice/,
    unordered: true,
  },
  {
    name: 'a gap among what nobody was told of',
    said: [],
    found: found(0, 2),
    wrong: /id 1 is missing/,
  },
  { name: 'the same, where ids may skip', said: [], found: found(0, 2), unordered: true },
  { name: 'a whole batch', said: [], found: batch(0, 3) },
  { name: 'a batch without its end', said: [], found: batch(0, 3).slice(0, 2), wrong: /behind 1/ },
  { name: 'a batch without its begin', said: [], found: batch(0, 3).slice(1), wrong: /before 1/ },
  { name: 'an LSN given out twice', said: [...ACKED, '+ 100 3'], found: [], wrong: /twice/ },
  {
    name: 'a trim that took place',
    said: [...ACKED, 't 200', 'T 200'],
    found: found(1, 2),
    trimLsn: 200,
  },
  { name: 'one that nobody was told of', said: [...ACKED, 't 200'], found: found(0, 1, 2) },
  {
    name: 'one that nobody was told of and took place',
    said: [...ACKED, 't 200'],
    found: found(1, 2),
    trimLsn: 200,
  },
  {
    name: 'a trim that is lost',
    said: [...ACKED, 't 200', 'T 200'],
    found: found(0, 1, 2),
    wrong: /trim to LSN 200 is lost/,
  },
  {
    name: 'a trim that nobody asked for',
    said: ACKED,
    found: found(1, 2),
    trimLsn: 200,
    wrong: /nobody asked/,
  },
  { name: 'a rewind', said: [...ACKED, 'r 200 1 3', 'R 200 500'], found: found(0) },
  {
    name: 'a rewind that is lost',
    said: [...ACKED, 'r 200 1 3', 'R 200 500'],
    found: found(0, 1, 2),
    wrong: /LSN 200 was rewound and is back/,
  },
  {
    name: 'a rewind that nobody was told of and took place',
    said: [...ACKED, 'r 200 1 3'],
    found: found(0),
  },
  {
    name: 'one that nobody was told of, took place, and was gone on behind',
    said: [...ACKED, 'r 200 1 3'],
    found: found(0, 3, 4),
  },
  {
    name: 'the same, without the first that was appended then',
    said: [...ACKED, 'r 200 1 3'],
    found: found(0, 4),
    wrong: /id 3 is missing/,
  },
  {
    name: 'the same, with one that was acknowledged before',
    said: [...ACKED, '+ 400 3', 'r 200 1 4'],
    found: found(0, 2, 3),
    wrong: /LSN 400 is there, and LSN 200 before it is not/,
  },
  {
    name: 'a hole that a rewind was asked for',
    said: [...ACKED, 'r 200 1 4'],
    found: found(0, 3),
    wrong: /id 3 was rewound and is back/,
  },
  { name: 'one that did not', said: [...ACKED, 'r 200 1 3'], found: found(0, 1, 2) },
  {
    name: 'one that took place by half',
    said: [...ACKED, 'r 200 1 3'],
    found: found(0, 1),
    wrong: /LSN 300 is lost/,
  },
  {
    name: 'one that took more than it should',
    said: [...ACKED, 'r 200 1 3', 'R 200 500'],
    found: [],
    wrong: /LSN 100 is lost/,
  },
]

t.test('what a first opening finds', async t => {
  for (const { name, said, found, trimLsn = 0, wrong, unordered } of CASES) {
    const judge = new Judge()
    const heard = judge.hear(said, { number: 0, isOrdered: unordered === undefined })
    const problems = [...heard.wrong, ...judge.judge(found, { trimLsn, durableLsn: 1000 }, false)]
    if (wrong === undefined) t.same(problems, [], name)
    else t.match(problems.join('; '), wrong, name)
  }
})

t.test('what a second opening finds is what the first one found', async t => {
  const ends = { trimLsn: 0, durableLsn: 1000 }
  const settled = () => {
    const judge = new Judge()
    judge.hear(['+ 100 0'], { number: 0, isOrdered: true })
    t.same(judge.judge(found(0, 1), ends, false), [])
    return judge
  }
  t.same(settled().judge(found(0, 1), ends, true), [])
  t.match(settled().judge(found(0), ends, true), ['LSN 200 is lost'])
  t.match(settled().judge(found(0, 1, 2), ends, true), ['LSN 300 comes late'])
})

t.test('a rewound LSN never comes again, in no later life', async t => {
  const judge = new Judge()
  judge.hear([...ACKED, 'r 200 1 3', 'R 200 500'], { number: 0, isOrdered: true })
  const ends = { trimLsn: 0, durableLsn: 1000 }
  t.same(judge.judge(found(0), ends, false), [])
  judge.hear([`+ 600 ${2 * IDS_A_LIFE}`], { number: 2, isOrdered: true })
  const data = makeRecord({ id: 2 * IDS_A_LIFE, batchFirst: 2 * IDS_A_LIFE, batchCount: 1 }, 40)
  const again = [...found(0, 2), { lsn: 600, data }]
  t.match(judge.judge(again, ends, false), ['LSN 300 was rewound and is back'])
})
