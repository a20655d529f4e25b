import { reason } from '../ring/children.ts'
import type { Case, CaseResult, Contender, Figures, Session } from './contender.ts'

interface Running {
  readonly contender: Contender
  readonly session: Session
  readonly rounds: Figures[]
}

/**
 * All contenders are started, and then measured in turns, so that what disturbs the machine for a while
 * disturbs all of them. One that fails has no row: medians of the rounds that it survived mean little.
 */
export async function runCase(
  { title, parameters, contenders }: Case,
  rounds: number,
  say: (line: string) => void,
): Promise<CaseResult> {
  const leftOut: { name: string; reason: string }[] = []
  const leave = (name: string, why: string) => {
    leftOut.push({ name, reason: why })
    say(`  left out: ${name} (${why.split('\n')[0]})`)
  }
  const running = new Set<Running>()
  const fail = async (one: Running, error: unknown) => {
    running.delete(one)
    leave(one.contender.name, reason(error))
    await one.session.close().catch(() => {})
  }
  try {
    for (const contender of contenders) {
      if (contender.absent !== undefined) leave(contender.name, contender.absent)
      else {
        try {
          running.add({ contender, session: await contender.start(), rounds: [] })
        } catch (error) {
          leave(contender.name, reason(error))
        }
      }
    }
    const order = [...running]
    for (let round = 0; round < rounds; round++) {
      // Rotated, so that nobody always runs behind the same other one.
      for (let i = 0; i < order.length; i++) {
        const one = order[(round + i) % order.length]
        if (!running.has(one)) continue
        try {
          one.rounds.push(await one.session.measure(round))
        } catch (error) {
          await fail(one, error)
        }
      }
    }
    const rows = [...running].map(one => ({ name: one.contender.name, rounds: one.rounds }))
    return { title, parameters, rows, leftOut }
  } finally {
    for (const { session } of running) await session.close().catch(error => say(`  ${error}`))
  }
}
