/** The map against a sorted array, which does the same slowly. */
import fc from 'fast-check'
import t from 'tap'
import { keyBytes, keyOf } from '../../examples/kv/src/bytes.ts'
import { OrderedMap } from '../../examples/kv/src/ordered-map.ts'
import { type Range, RangeWalk } from '../../examples/kv/src/range.ts'

/** Few enough keys that they meet, and more than fit into two levels of the tree. */
const keys = fc.integer({ min: 0, max: 9999 }).map(String)
const steps = fc.array(fc.record({ isDelete: fc.boolean(), key: keys, value: fc.integer() }), {
  maxLength: 400,
})

type Rows = [string, number][]

function rowsOf(map: OrderedMap<number>, range: Range = {}, seek?: string): Rows {
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
  let map = new OrderedMap<number>()
  const model = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const key = String((i * 7919) % 10_000)
    map = map.set(key, i)
    model.set(key, i)
  }
  return { map, model }
}

t.test(
  'sets and deletes come to what a Map and a sort come to; older maps stay as they were',
  async t => {
    const start = filled(6000)
    const before = rowsOf(start.map)
    const property = fc.property(steps, changes => {
      let { map } = start
      const model = new Map(start.model)
      for (const { isDelete, key, value } of changes) {
        map = isDelete ? map.delete(key) : map.set(key, value)
        if (isDelete) model.delete(key)
        else model.set(key, value)
        if (map.get(key) !== model.get(key)) return false
      }
      t.equal(map.size, model.size)
      return JSON.stringify(rowsOf(map)) === JSON.stringify(sorted(model))
    })
    fc.assert(property, { numRuns: 30 })
    t.same(rowsOf(start.map), before)
  },
)

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
  const { model } = filled(5000)
  let { map } = filled(5000)
  for (const key of model.keys()) map = map.delete(key)
  t.equal(map.size, 0)
  t.same(rowsOf(map), [])
  t.same(rowsOf(map.set('a', 1), { reverse: true }), [['a', 1]])
})

t.test('keys are ordered by their bytes, the empty one first', async t => {
  let map = new OrderedMap<number>()
  for (const key of ['ff', '', '00', '7f80', '7f']) map = map.set(keyOf(Buffer.from(key, 'hex')), 0)
  const cursor = map.cursor()
  const found = []
  for (let entry = cursor.next(); entry; entry = cursor.next())
    found.push(keyBytes(entry[0]).toString('hex'))
  t.same(found, ['', '00', '7f', '7f80', 'ff'])
})
