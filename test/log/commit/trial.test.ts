import t from 'tap'
import { Trial } from '../../../src/log/commit/trial.ts'

/** Commits one after the other; `rate` says how many records a millisecond each way does. */
class Runs {
  readonly trial = new Trial()
  ms = 0
  /** Commits each way. */
  readonly taken = { usual: 0, other: 0 }

  commit(rate: { readonly usual: number; readonly other: number }): void {
    const way = this.trial.takesOther ? 'other' : 'usual'
    this.taken[way]++
    this.ms += 10 / rate[way]
    this.trial.committed(this.ms, 10)
  }

  commits(count: number, rate: { readonly usual: number; readonly other: number }): boolean {
    for (let i = 0; i < count; i++) this.commit(rate)
    return this.trial.takesOther
  }
}

/** Longer than the first comparison, and shorter than the pause behind it. */
const FIRST = 64 + 6 * 28

t.test('the way that does more is taken, if it is worth the change', async t => {
  for (const [other, takesOther] of [
    [0.5, false],
    [1, false],
    [1.02, false],
    [1.05, true],
    [3, true],
  ] as const) {
    t.equal(new Runs().commits(FIRST, { usual: 1, other }), takesOther, `${other} of the usual way`)
  }
})

t.test('nothing is tried at first, and each way gets as many commits', async t => {
  const runs = new Runs()
  runs.commits(64, { usual: 1, other: 2 })
  t.same(runs.taken, { usual: 64, other: 0 })
  runs.commits(6 * 28, { usual: 1, other: 2 })
  t.same(runs.taken, { usual: 64 + 84, other: 84 })
})

t.test('a way that has become the slower one is left', async t => {
  const runs = new Runs()
  t.equal(runs.commits(FIRST, { usual: 1, other: 2 }), true)
  // What was measured before is remembered, and outvoted.
  runs.commits(128 + 6 * 28, { usual: 2, other: 1 })
  runs.commits(256 + 6 * 28, { usual: 2, other: 1 })
  t.equal(runs.trial.takesOther, false)
})

t.test('comparisons come to be few', async t => {
  const runs = new Runs()
  runs.commits(100_000, { usual: 2, other: 1 })
  t.ok(runs.taken.other > 0 && runs.taken.other < 100_000 / 40, `${runs.taken.other} of 100,000`)
})

t.test('one slow commit decides nothing', async t => {
  for (let slow = 64; slow < FIRST; slow += 5) {
    const runs = new Runs()
    runs.commits(slow, { usual: 1, other: 1.1 })
    runs.ms += 500
    t.equal(runs.commits(FIRST - slow, { usual: 1, other: 1.1 }), true, `behind ${slow} commits`)
  }
})

t.test('what was measured before an interruption does not count', async t => {
  const runs = new Runs()
  t.equal(runs.commits(64 + 70, { usual: 1, other: 2 }), true, 'in the third turn')
  runs.trial.interrupt()
  t.equal(runs.trial.takesOther, false, 'it goes the usual way')
  runs.commits(64, { usual: 1, other: 0.5 })
  t.equal(runs.commits(6 * 28, { usual: 1, other: 0.5 }), false)
  t.equal(new Runs().trial.takesOther, false)

  const chosen = new Runs()
  chosen.commits(FIRST, { usual: 1, other: 2 })
  chosen.trial.interrupt()
  t.equal(chosen.trial.takesOther, true, 'a choice stands')
})
