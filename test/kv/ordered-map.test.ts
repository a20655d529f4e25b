/** The map against a sorted array, which does the same slowly. */
import fc from 'fast-check'
import t from 'tap'
import { keyBytes, keyOf } from '../../examples/kv/src/bytes.ts'
import { OrderedMap, type ReadonlyOrderedMap } from '../../examples/kv/src/ordered-map.ts'
import { type Range, RangeWalk } from '../../examples/kv/src/range.ts'

/** Few enough keys that they meet, and more than fit into two levels of the tree. */
const keys = fc.integer({ min: 0, max: 9999 }).map(String)
const steps = fc.array(fc.record({ isDelete: fc.boolean(), key: keys, value: fc.integer() }), {
  maxLength: 400,
})

type Rows = [string, number][]

function rowsOf(map: ReadonlyOrderedMap<number>, range: Range = {}, seek?: string): Rows {
  const walk = new RangeWalk(map, range)
  if (seek !== undefined) walk.seek(seek)
  const rows: Rows = []
  for (let entry = walk.next(); entry !== undefined; entry = walk.next()) {
    rows.push([entry[0], entry[1]])
  }
  return rows
}

function sorted(model: Map<string, number>): Rows {
  return [...model].sort(([one], [other]) => (one < other ? -1 : 1))
}

function expected(model: Map<string, number>, range: Record<string, unknown>, seek?: string): Rows {
  const { gt, gte, lt, lte, reverse } = range
  const inRange = (key: string) =>
    (gte !== undefined ? key >= String(gte) : gt === undefined || key > String(gt)) &&
    (lte !== undefined ? key <= String(lte) : lt === undefined || key < String(lt))
  const rows = sorted(model).filter(([key]) => inRange(key))
  if (reverse) rows.reverse()
  if (seek === undefined) return rows
  if (!inRange(seek)) return []
  return rows.filter(([key]) => (reverse ? key <= seek : key >= seek))
}

/** A map of many keys, so that there are branches above branches. */
function filled(count: number): { map: OrderedMap<number>; model: Map<string, number> } {
  const map = new OrderedMap<number>()
  const model = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const key = String((i * 7919) % 10_000)
    map.set(key, i)
    model.set(key, i)
  }
  return { map, model }
}

interface Change {
  readonly isDelete: boolean
  readonly key: string
  readonly value: number
}

/** Makes the changes to both; false as soon as they differ. */
function isSame(map: OrderedMap<number>, model: Map<string, number>, changes: readonly Change[]) {
  for (const { isDelete, key, value } of changes) {
    if (isDelete) {
      map.delete(key)
      model.delete(key)
    } else {
      map.set(key, value)
      model.set(key, value)
    }
    if (map.get(key) !== model.get(key)) return false
  }
  return map.size === model.size && JSON.stringify(rowsOf(map)) === JSON.stringify(sorted(model))
}

t.test('sets and deletes come to what a Map and a sort come to', async t => {
  const property = fc.property(steps, changes => {
    const { map, model } = filled(6000)
    return isSame(map, model, changes)
  })
  fc.assert(property, { numRuns: 30 })
  t.pass('compared')
})

t.test('snapshots, and what they were taken of, see nothing of each other', async t => {
  const start = filled(6000)
  const before = JSON.stringify(rowsOf(start.map))
  const property = fc.property(fc.array(steps, { minLength: 2, maxLength: 5 }), all => {
    // Each is a snapshot of the one before it, and all of them are changed from then on.
    const maps = [{ map: start.map.snapshot(), model: new Map(start.model) }]
    for (const changes of all) {
      const { map, model } = maps.at(-1)!
      maps.push({ map: map.snapshot(), model: new Map(model) })
      if (!maps.every(each => isSame(each.map, each.model, changes))) return false
    }
    return maps.every(
      ({ map, model }) => JSON.stringify(rowsOf(map)) === JSON.stringify(sorted(model)),
    )
  })
  fc.assert(property, { numRuns: 30 })
  t.equal(JSON.stringify(rowsOf(start.map)), before)
})

t.test('nodes are joined in the map, and stay apart in its snapshot', async t => {
  for (const isBackward of [false, true]) {
    const { map, model } = filled(6000)
    const snapshot = map.snapshot()
    const inOrder = sorted(model).map(([key]) => key)
    if (isBackward) inOrder.reverse()
    for (const [i, key] of inOrder.entries()) {
      // So that what is joined is not what the snapshot has.
      if (i + 1 < inOrder.length) map.set(inOrder[i + 1], -1)
      map.delete(key)
    }
    t.equal(map.size, 0)
    t.same(rowsOf(snapshot), sorted(model))
  }
})

t.test('a walk over a snapshot goes on as if nothing was written', async t => {
  const { map, model } = filled(3000)
  const walk = new RangeWalk(map.snapshot(), {})
  const rows: Rows = []
  for (let entry = walk.next(); entry !== undefined; entry = walk.next()) {
    rows.push([entry[0], entry[1]])
    map.delete(entry[0])
    map.set(`${entry[0]}!`, -1)
  }
  t.same(rows, sorted(model))
})

t.test('every range, direction and place to seek', async t => {
  const { map, model } = filled(3000)
  const bound = fc.option(keys, { nil: undefined })
  const end = bound.map(key => key && keyBytes(key))
  const range = fc.record({ gt: end, gte: end, lt: end, lte: end, reverse: fc.boolean() })
  const property = fc.property(range, bound, (asked, seek) => {
    const rows = rowsOf(map, asked as Range, seek)
    const right = expected(model, asked, seek)
    return JSON.stringify(rows) === JSON.stringify(right)
  })
  fc.assert(property, { numRuns: 300 })
  t.pass('compared')
})

t.test('a map that was emptied is like a new one', async t => {
  const { map, model } = filled(5000)
  for (const key of model.keys()) map.delete(key)
  t.equal(map.size, 0)
  t.same(rowsOf(map), [])
  map.set('a', 1)
  t.same(rowsOf(map, { reverse: true }), [['a', 1]])
})

t.test('keys are ordered by their bytes, the empty one first', async t => {
  const map = new OrderedMap<number>()
  for (const key of ['ff', '', '00', '7f80', '7f']) map.set(keyOf(Buffer.from(key, 'hex')), 0)
  const cursor = map.cursor()
  const found = []
  for (let entry = cursor.next(); entry; entry = cursor.next())
    found.push(keyBytes(entry[0]).toString('hex'))
  t.same(found, ['', '00', '7f', '7f80', 'ff'])
})
