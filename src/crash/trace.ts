/** A plan as a person reads it, and as a test that can be pasted. */
import { LETTERS, type Survivors } from './image.ts'
import type { Plan, PlannedLife } from './plan.ts'

/** One line for each thing that happens. */
export function traceOf(plan: Plan): string {
  return plan.lives.flatMap((life, at) => linesOf(life, at + 1)).join('\n')
}

function linesOf(life: PlannedLife, number: number): string[] {
  const { phase, steps, faults, hasPageCache, crashAt, survivors } = life
  const what = phase === 'workload' ? 'the workload runs' : 'what is left is recovered'
  const cached = hasPageCache ? ', files through a page cache' : ''
  const end =
    crashAt === Number.MAX_SAFE_INTEGER ? 'when it is over' : `before operation ${crashAt}`
  return [
    `  ${number}. ${what} (seed ${life.seed}${cached})`,
    ...steps.map(step => `       ${JSON.stringify(step)}`),
    ...faults.map(({ kind, from }) => `       fault: ${kind}, from operation ${from} on`),
    `     ${crashOf(survivors)} ${end}`,
  ]
}

const FATES = new Map(Object.entries(LETTERS).map(([fate, letter]) => [letter, fate]))

function crashOf(survivors: Survivors): string {
  if (survivors.kind === 'kill') return 'the process is killed'
  const fates = [...survivors.fates].map(letter => FATES.get(letter))
  const isAll = fates.length > 0 && fates.every(fate => fate === 'new')
  const left = fates.every(fate => fate === 'old')
    ? 'nothing unsynced survives'
    : isAll
      ? 'all survives'
      : `survives: ${fates.join(', ')}`
  return `the power is cut (sectors of ${survivors.sectorBytes}; ${left})`
}

/**
 * The source of a test for node:test.
 * @param scenario what the test imports, and from where
 */
export function pastedTest(
  plan: Plan,
  scenario = { name: 'scenario', from: './scenario.ts' },
): string {
  return [
    "import { test } from 'node:test'",
    "import { replayCrash } from 'riolog/crash'",
    `import { ${scenario.name} } from '${scenario.from}'`,
    '',
    "test('a crash that once lost something', () =>",
    `  replayCrash(${scenario.name}, ${JSON.stringify(plan, null, 2).replaceAll('\n', '\n  ')}))`,
    '',
  ].join('\n')
}
