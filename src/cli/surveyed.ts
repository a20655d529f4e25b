/** What the commands share that look at the files of a log themselves. */
import { chooseDisk } from '../disk/choose.ts'
import { CorruptionError } from '../errors.ts'
import { type Hole, Survey } from '../log/recovery/survey.ts'
import { checkFormat } from '../segment/format.ts'
import { showProgress, Tally } from './progress.ts'

/** Runs with a survey of a log's files, while a bar shows how much of them is read. */
export async function surveyed<T>(
  dir: string,
  run: (survey: Survey, tally: Tally) => Promise<T>,
): Promise<T> {
  checkFormat()
  const disk = chooseDisk('auto')
  try {
    const survey = await Survey.open(disk, dir)
    const tally = new Tally()
    const course = { end: Infinity, before: (lsn: number) => survey.bytesBefore(lsn) }
    const stop = showProgress(tally, course)
    try {
      return await run(survey, tally)
    } finally {
      stop()
      survey.close()
    }
  } finally {
    await disk.close()
  }
}

/** The first damage that was met: a hole, or the manifest's. */
export function corruptionOf({ manifestProblem }: Survey, hole?: Hole): CorruptionError {
  if (hole === undefined) {
    const where = { segment: 0, offset: 0, lsn: 0 }
    return new CorruptionError(`the manifest is damaged: ${manifestProblem}`, where)
  }
  const { reason, segment, offset, from: lsn, to } = hole
  return new CorruptionError(`${reason}, up to LSN ${to}`, { segment, offset, lsn })
}

export interface DamageTold {
  readonly segment: number
  readonly offset: number
  readonly from: number
  readonly to: number
  readonly reason: string
}

export function toldOf({ segment, offset, from, to, reason }: Hole): DamageTold {
  return { segment, offset, from, to, reason }
}

export function lineOf({ segment, offset, from, to, reason }: DamageTold): string {
  return `hole     segment ${segment}, offset ${offset}, LSN ${from} to ${to}: ${reason}`
}
