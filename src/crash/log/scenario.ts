/** The log of this very package, as the harness' first user. */
import type { Scenario, VerifyContext } from '../scenario.ts'
import { provenEnd } from './evidence.ts'
import { type LogEvent, Oracle } from './oracle.ts'
import { type LogStep, randomSteps, readingOptions } from './steps.ts'
import { workload } from './workload.ts'

/**
 * What `riolog crash` runs: the log itself, and its judge. For {@link replayCrash} of a plan that the
 * command told.
 */
export const LOG_SCENARIO: Scenario<LogStep> = { steps: randomSteps, workload, verify }

/** Opens what a crash has left for writing, and holds what it shows against what was promised. */
async function verify(context: VerifyContext): Promise<void> {
  const oracle = new Oracle(context.history)
  // Before the opening stamps its own floor.
  const proven = context.isDamaged ? provenEnd(context.device) : undefined
  const log = await context.open(readingOptions(oracle.isPacked))
  const found = []
  for await (const record of log.scan()) found.push(record)
  const wrong = oracle.judge(found, proven)
  if (wrong.length > 0) throw new Error(wrong.join('; '))
  context.note({ kind: 'found', lsns: found.map(({ lsn }) => lsn) } satisfies LogEvent)
}
