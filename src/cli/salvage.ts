/** `riolog salvage`: all that still verifies of a damaged log, into a new one. */
import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import prettyBytes from 'pretty-bytes'
import { invalidArgument } from '../errors.ts'
import { Log } from '../index.ts'
import { Codec } from '../log/records/codec.ts'
import type { EncryptionOptions } from '../log/records/encryption.ts'
import { type Survey, survivors } from '../log/recovery/survey.ts'
import { appendEach } from './append.ts'
import { addKeys, encryptionOf, type KeyOptions } from './keys.ts'
import { printFields, printJson, printLine } from './output.ts'
import type { Tally } from './progress.ts'
import { type DamageTold, lineOf, surveyed, toldOf } from './surveyed.ts'

interface SalvageOptions extends KeyOptions {
  readonly to: string
  readonly json?: true
}

const EXIT_LOST = 1
/** A batch of the source is appended as a whole, so there has to be room for the longest. */
const MAX_BUFFERED_BYTES = 256 * 2 ** 20

export function addSalvage(program: Command): void {
  const command = program
    .command('salvage')
    .description('copy every record that verifies into a new log; exits with 1 if some are lost')
    .argument('<dir>', 'directory of the log; nothing is written there, and it must not be in use')
    .requiredOption('--to <new>', 'directory of the new log; records get new LSNs there')
    .option('--json', 'print one line of JSON')
  addKeys(command).action(salvage)
}

async function salvage(dir: string, { to, json, ...keys }: SalvageOptions): Promise<void> {
  if (pathOf(dir) === pathOf(to)) throw invalidArgument('--to must be another directory')
  const encryption = encryptionOf(keys)
  const told = await surveyed(dir, (survey, tally) => copyAll(survey, to, encryption, tally))
  // Without a manifest nothing tells where the log ended: what is missing there is not seen.
  const isLossy = told.holes.length > 0 || told.manifest !== 'good'
  if (isLossy) process.exitCode = EXIT_LOST
  if (json) return printJson({ ok: !isLossy, ...told })
  for (const hole of told.holes) await printLine(lineOf(hole))
  const bytes = `${told.bytes} (${prettyBytes(told.bytes, { binary: true })})`
  const { records, holes, manifest } = told
  await printFields({ records, bytes, holes: holes.length, manifest })
}

/**
 * What was encrypted is encrypted in the new log too, with the last key given. The new log is made for the
 * first record: where its key is missing, nothing is left behind that a second try would meet.
 */
async function copyAll(
  survey: Survey,
  to: string,
  encryption: EncryptionOptions | undefined,
  tally: Tally,
) {
  const codec = new Codec({ compression: 'none', encryption }, { writes: false })
  const { segmentSize } = survey.manifest
  // Epoch 0: only a log that nobody has written to.
  const options = { segmentSize, expectedEpoch: 0, maxBufferedBytes: MAX_BUFFERED_BYTES }
  const open = () => Log.open(to, { ...options, ...(encryption && { encryption }) })
  const holes: DamageTold[] = []
  let log: Log | undefined
  try {
    for await (const item of survivors(survey, codec)) {
      if (item.kind === 'hole') holes.push(toldOf(item))
      else if (item.records.length > 0) {
        log ??= await open()
        const records = item.records.map(({ data }) => data)
        await append(log, records, item.isBatch, tally)
      }
    }
    log ??= await open()
    await log.flush()
  } finally {
    await log?.close()
  }
  const { records, bytes } = tally
  return { records, bytes, holes, manifest: survey.manifestProblem ?? 'good' }
}

async function append(log: Log, records: Buffer[], isBatch: boolean, tally: Tally): Promise<void> {
  if (!isBatch) return appendEach(log, records, tally)
  await log.appendBatchDurable(records)
  for (const { length } of records) tally.add(length)
}

function pathOf(directory: string): string {
  try {
    return realpathSync(directory)
  } catch {
    return resolve(directory)
  }
}
