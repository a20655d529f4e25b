/** What a child can be told to do. Each task is ready to be measured once it is started. */
import type { Session } from '../contender.ts'
import { startAppends } from './appends.ts'
import { startManyLogs } from './many-logs.ts'
import { startFilling, startOpening } from './opening.ts'
import { startReads } from './reads.ts'
import { startWorkers } from './workers.ts'
import { startYcsb } from './ycsb.ts'

const TASKS = {
  appends: startAppends,
  reads: startReads,
  filling: startFilling,
  opening: startOpening,
  manyLogs: startManyLogs,
  workers: startWorkers,
  ycsb: startYcsb,
}

export type TaskName = keyof typeof TASKS
export type TaskSettings<Name extends TaskName = TaskName> = Parameters<(typeof TASKS)[Name]>[0]

export function startTask(name: TaskName, settings: TaskSettings): Promise<Session> {
  const start = TASKS[name] as (settings: TaskSettings) => Promise<Session>
  return start(settings)
}
