/** Makes a failing plan as short as it can be, and still failing. */
import type { Plan, PlannedLife, Violation } from './plan.ts'

export interface Shrunk {
  readonly plan: Plan
  readonly violation: Violation
  /** How often a shorter plan was tried. */
  readonly attempts: number
}

/** Tells what is wrong with a plan; undefined when nothing is. */
export type Judge = (plan: Plan) => Promise<Violation | undefined>

/**
 * Takes away what can be taken away: lives, steps, faults, what survives. Each is tried in turn, until none
 * helps any more.
 * @param mostAttempts after which the shortest so far is given
 */
export async function shrink(
  plan: Plan,
  violation: Violation,
  judge: Judge,
  mostAttempts: number,
): Promise<Shrunk> {
  let shortest = { plan, violation }
  let attempts = 0
  for (let helped = true; helped && attempts < mostAttempts; ) {
    helped = false
    for (const shorter of shorterPlans(shortest.plan)) {
      if (attempts === mostAttempts) break
      attempts++
      const found = await judge(shorter)
      if (found === undefined) continue
      shortest = { plan: shorter, violation: found }
      helped = true
      break
    }
  }
  return { ...shortest, attempts }
}

/** Big cuts first. */
function* shorterPlans(plan: Plan): Generator<Plan> {
  const { lives } = plan
  for (const at of lives.keys()) yield { lives: lives.filter((_, other) => other !== at) }
  for (const [at, life] of lives.entries()) {
    for (const shorter of shorterLives(life)) {
      yield { lives: lives.map((other, i) => (i === at ? shorter : other)) }
    }
  }
}

function* shorterLives(life: PlannedLife): Generator<PlannedLife> {
  const { steps, faults } = life
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < steps.length; from += size) {
      const fewer = steps.filter((_, at) => at < from || at >= from + size)
      yield { ...life, steps: fewer }
      // With fewer steps the same moment comes earlier.
      for (const back of [1, 2, 4, 8, 16]) {
        if (life.crashAt > back) yield { ...life, steps: fewer, crashAt: life.crashAt - back }
      }
    }
  }
  for (const at of faults.keys()) yield { ...life, faults: faults.filter((_, i) => i !== at) }
  if (life.hasPageCache) yield { ...life, hasPageCache: false }
  yield* plainerSurvivors(life)
}

/** Nothing but old and new, and of the new as little as can be. */
function* plainerSurvivors(life: PlannedLife): Generator<PlannedLife> {
  const { survivors } = life
  if (survivors.kind === 'kill') return
  const { fates } = survivors
  const withFates = (letters: string) => ({
    ...life,
    survivors: { ...survivors, fates: letters.replace(/o+$/, '') },
  })
  if (fates !== '') yield withFates('')
  for (const at of [...fates].keys()) {
    if (fates[at] === 'o') continue
    yield withFates(`${fates.slice(0, at)}o${fates.slice(at + 1)}`)
    if (fates[at] !== 'n') yield withFates(`${fates.slice(0, at)}n${fates.slice(at + 1)}`)
  }
}
