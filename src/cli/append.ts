/** `riolog append`: records from standard input into the log. */
import { addAbortSignal } from 'node:stream'
import { type Command, Option } from 'commander'
import prettyBytes from 'pretty-bytes'
import { RiologError } from '../errors.ts'
import { Log, type LogOptions } from '../index.ts'
import { FailedWith } from './failure.ts'
import { createSplitter, FRAMINGS, type Framing, type Splitter } from './framing.ts'
import { addKeys, encryptionOptions, type KeyOptions } from './keys.ts'
import { printFields, printJson } from './output.ts'
import { showProgress, Tally } from './progress.ts'
import { parseBytes } from './values.ts'

interface AppendOptions extends KeyOptions {
  readonly framing: Framing
  readonly segmentSize?: number
  readonly engine: NonNullable<LogOptions['engine']>
  readonly json?: true
}

interface Outcome {
  readonly engine: string
  readonly records: number
  readonly bytes: number
  readonly durableLsn: number
}

const EXIT_INTERRUPTED = 130

export function addAppend(program: Command): void {
  const command = program
    .command('append')
    .description('append records from standard input, and make them durable')
    .argument('<dir>', 'directory of the log; made if it is not there')
    .addOption(
      new Option('--framing <how>', 'what a record is: a line, or 4 bytes of length and as many')
        .choices(FRAMINGS)
        .default('line'),
    )
    .option('--segment-size <bytes>', 'size of a segment of a new log, e.g. 64MiB', parseBytes)
    .addOption(
      new Option('--engine <name>', 'how the disk is reached')
        .choices(['auto', 'uring', 'threadpool'])
        .default('auto'),
    )
    .option('--json', 'print one line of JSON')
  addKeys(command).action(append)
}

async function append(dir: string, options: AppendOptions): Promise<void> {
  const { engine, segmentSize } = options
  const size = segmentSize !== undefined && { segmentSize }
  const log = await Log.open(dir, { engine, ...size, ...encryptionOptions(options) })
  const interruption = new AbortController()
  // Once: a second Ctrl-C ends the process at once.
  process.once('SIGINT', () => interruption.abort())
  let failure: unknown
  let outcome: Outcome
  try {
    const tally = new Tally()
    const splitter = createSplitter(options.framing, log.maxRecordBytes)
    failure = await takeAll(log, splitter, tally, interruption.signal).catch(error => error)
    const { records, bytes } = tally
    outcome = { engine: log.info().engine, records, bytes, durableLsn: await log.flush() }
  } catch (error) {
    // The log is poisoned: closing it can only say so again.
    await log.close().catch(() => {})
    throw error
  }
  await log.close()
  const interrupted = interruption.signal.aborted && isAbort(failure)
  if (failure !== undefined && !interrupted) {
    if (!options.json) await printOutcome(outcome)
    throw new FailedWith(failure, outcome)
  }
  if (interrupted) process.exitCode = EXIT_INTERRUPTED
  if (options.json) await printJson({ ok: !interrupted, interrupted, ...outcome })
  else await printOutcome(outcome)
}

/** Appends every record of standard input; an abort stops between two chunks of it. */
async function takeAll(
  log: Log,
  splitter: Splitter,
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  // Whoever types records does not want them overwritten by a count of them.
  const stopProgress = process.stdin.isTTY ? () => {} : showProgress(tally)
  try {
    for await (const chunk of addAbortSignal(signal, process.stdin)) {
      await appendEach(log, splitter.push(chunk as Buffer), tally)
    }
    await appendEach(log, splitter.end(), tally)
  } finally {
    stopProgress()
  }
}

/** Appends each record, in order and once, however often memory is full of those before it. */
export async function appendEach(
  log: Pick<Log, 'append' | 'drain'>,
  records: Iterable<Buffer>,
  tally: Tally,
): Promise<void> {
  for (const record of records) {
    while (!tryAppend(log, record)) await log.drain()
    tally.add(record.length)
  }
}

function tryAppend(log: Pick<Log, 'append'>, record: Buffer): boolean {
  try {
    log.append(record)
    return true
  } catch (error) {
    if (error instanceof RiologError && error.code === 'ERR_RIOLOG_BACKPRESSURE') return false
    throw error
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

function printOutcome({ engine, records, bytes, durableLsn }: Outcome): Promise<void> {
  const size = `${bytes} (${prettyBytes(bytes, { binary: true })})`
  return printFields({ records, bytes: size, 'durable LSN': durableLsn, engine })
}
