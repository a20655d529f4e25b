import t from 'tap'
import { Fifo } from '../../src/log/fifo.ts'
import { Random } from '../support/random.ts'

t.test('does what an array does that is pushed and shifted', t => {
  const random = new Random(1)
  const fifo = new Fifo<number>()
  const model: number[] = []
  let longest = 0
  for (let i = 0; i < 20_000; i++) {
    // Grows in the long run of one half, and is emptied in that of the other, so that the ring wraps at each length.
    const pushes = random.chance(i % 2000 < 1000 ? 0.6 : 0.4)
    if (pushes || model.length === 0) {
      fifo.push(i)
      model.push(i)
    } else if (fifo.shift() !== model.shift()) t.fail(`step ${i}`)
    longest = Math.max(longest, model.length)
    if (fifo.length !== model.length) t.fail(`length at step ${i}`)
    if (model.length > 0 && fifo.at(model.length - 1) !== model.at(-1)) t.fail(`last at step ${i}`)
    if (i % 100 === 0) t.strictSame([...fifo], model)
  }
  t.ok(longest > 100, `it was as long as ${longest}`)
  t.end()
})

t.test('finds the oldest, and holds nothing that it has given back', t => {
  const fifo = new Fifo<{ n: number }>()
  for (const n of [1, 2, 3, 4]) fifo.push({ n })
  t.equal(fifo.find(({ n }) => n % 2 === 0)?.n, 2)
  t.equal(
    fifo.find(({ n }) => n > 4),
    undefined,
  )
  fifo.shift()
  t.equal(
    fifo.find(({ n }) => n === 1),
    undefined,
  )
  t.end()
})
