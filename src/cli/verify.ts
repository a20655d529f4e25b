/** `riolog verify`: reads the whole log and says whether all that was durable still is. */
import type { Command } from 'commander'
import prettyBytes from 'pretty-bytes'
import { CorruptionError, Log, type LogInfo, type RecoveryReport } from '../index.ts'
import { addKeys, encryptionOptions, type KeyOptions } from './keys.ts'
import { printFields, printJson } from './output.ts'
import { type Course, showProgress, Tally } from './progress.ts'
import { corruptionOf, surveyed } from './surveyed.ts'

interface VerifyOptions extends KeyOptions {
  readonly deep?: true
  readonly json?: true
}

interface Verified {
  /** What opening found: where the log ends, and why there. */
  readonly verdict: RecoveryReport['verdict']
  readonly records: number
  readonly bytes: number
  readonly durableLsn: number
  /** Of the files, with --deep. */
  readonly deep?: { readonly segments: number; readonly groups: number; readonly records: number }
}

export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('read everything and verify it')
    .argument('<dir>', 'directory of the log; it may be in use')
    .option('--deep', 'every group and record of the live segments, also what an opening trusts')
    .option('--json', 'print one line of JSON')
  addKeys(command).action(verify)
}

async function verify(dir: string, { deep, json, ...keys }: VerifyOptions): Promise<void> {
  try {
    const read = await readAll(dir, keys)
    const verified = { ...read, ...(deep && { deep: await readFiles(dir) }) }
    await (json ? printJson({ ok: true, ...verified }) : printVerified(verified))
  } catch (error) {
    if (error instanceof CorruptionError && !json) {
      const { segment, offset, lsn } = error
      await printFields({ verdict: 'corrupt', segment, offset, LSN: lsn })
    }
    throw error
  }
}

async function readAll(dir: string, keys: KeyOptions): Promise<Verified> {
  await using log = await Log.open(dir, { readOnly: true, ...encryptionOptions(keys) })
  const { durableLsn, recovery } = log
  const tally = new Tally()
  const stopProgress = showProgress(tally, courseOf(log.info()))
  try {
    for await (const batch of log.scanBatches()) {
      for (const { data } of batch) tally.add(data.length)
      tally.lsn = batch[batch.length - 1].lsn
    }
  } finally {
    stopProgress()
  }
  return { verdict: recovery.verdict, records: tally.records, bytes: tally.bytes, durableLsn }
}

/** Also what was trimmed and is still there, and the groups before the floor, which openings trust. */
function readFiles(dir: string): Promise<NonNullable<Verified['deep']>> {
  return surveyed(dir, async (survey, tally) => {
    let [segments, groups, records] = [0, 0, 0]
    if (survey.manifestProblem !== undefined) throw corruptionOf(survey)
    for await (const item of survey.items()) {
      if (item.kind === 'hole') throw corruptionOf(survey, item)
      if (item.kind === 'segment') segments++
      if (item.kind !== 'group') continue
      groups++
      records += item.group.recordCount
      tally.records = records
      tally.bytes += item.group.payloadBytes
      tally.lsn = item.group.lsn
    }
    return { segments, groups, records }
  })
}

/** Measured in bytes of files: LSNs have gaps between the segments, some far wider than the files. */
export function courseOf({ segments, alignment, trimLsn, durableLsn }: LogInfo): Course {
  const bytesBefore = (lsn: number) =>
    segments
      .map(({ firstLsn, fileBytes }) => Math.min(lsn - firstLsn, fileBytes - alignment))
      .reduce((sum, bytes) => sum + Math.max(bytes, 0), 0)
  return { end: durableLsn, before: lsn => bytesBefore(lsn) - bytesBefore(trimLsn) }
}

function printVerified({ verdict, records, bytes, durableLsn, deep }: Verified): Promise<void> {
  return printFields({
    verdict: `good (${verdict})`,
    records,
    bytes: `${bytes} (${prettyBytes(bytes, { binary: true })})`,
    'durable LSN': durableLsn,
    ...(deep && { 'segments read': deep.segments, 'groups read': deep.groups }),
  })
}
