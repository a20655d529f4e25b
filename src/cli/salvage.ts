/** `riolog salvage`: all that still verifies of a damaged log, into a new one. */
import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import prettyBytes from 'pretty-bytes'
import { invalidArgument } from '../errors.ts'
import { Log } from '../index.ts'
import { Codec } from '../log/codec.ts'
import { survivors } from '../log/survey.ts'
import { appendEach } from './append.ts'
import { printFields, printJson, printLine } from './output.ts'
import type { Tally } from './progress.ts'
import { type DamageTold, lineOf, surveyed, toldOf } from './surveyed.ts'

interface SalvageOptions {
  readonly to: string
  readonly json?: true
}

const EXIT_LOST = 1
/** A batch of the source is appended as a whole, so there has to be room for the longest. */
const MAX_BUFFERED_BYTES = 256 * 2 ** 20

export function addSalvage(program: Command): void {
  program
    .command('salvage')
    .description('copy every record that verifies into a new log; exits with 1 if some are lost')
    .argument('<dir>', 'directory of the log; nothing is written there, and it must not be in use')
    .requiredOption('--to <new>', 'directory of the new log; records get new LSNs there')
    .option('--json', 'print one line of JSON')
    .action(salvage)
}

async function salvage(dir: string, { to, json }: SalvageOptions): Promise<void> {
  if (pathOf(dir) === pathOf(to)) throw invalidArgument('--to must be another directory')
  const told = await surveyed(dir, async (survey, tally) => {
    const { segmentSize } = survey.manifest
    // Epoch 0: only a log that nobody has written to.
    const options = { segmentSize, expectedEpoch: 0, maxBufferedBytes: MAX_BUFFERED_BYTES }
    await using log = await Log.open(to, options)
    const codec = new Codec({ compression: 'none', encryption: undefined }, { writes: false })
    const holes: DamageTold[] = []
    for await (const item of survivors(survey, codec)) {
      if (item.kind === 'hole') holes.push(toldOf(item))
      else
        await append(
          log,
          item.records.map(({ data }) => data),
          item.isBatch,
          tally,
        )
    }
    await log.flush()
    const { records, bytes } = tally
    return { records, bytes, holes, manifest: survey.manifestProblem ?? 'good' }
  })
  // Without a manifest nothing tells where the log ended: what is missing there is not seen.
  const isLossy = told.holes.length > 0 || told.manifest !== 'good'
  if (isLossy) process.exitCode = EXIT_LOST
  if (json) return printJson({ ok: !isLossy, ...told })
  for (const hole of told.holes) await printLine(lineOf(hole))
  const bytes = `${told.bytes} (${prettyBytes(told.bytes, { binary: true })})`
  const { records, holes, manifest } = told
  await printFields({ records, bytes, holes: holes.length, manifest })
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
