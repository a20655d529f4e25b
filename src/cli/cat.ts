/** `riolog cat` and `riolog tail`: the durable records of the log to standard output. */
import { type Command, Option } from 'commander'
import { Log } from '../index.ts'
import type { LogRecord } from '../log/records/record.ts'
import { FRAMINGS, type Framing, frame } from './framing.ts'
import { addKeys, encryptionOptions, type KeyOptions } from './keys.ts'
import { Output } from './output.ts'
import { parseLsn } from './values.ts'

/** Options of `cat` and of `tail`. */
interface CatOptions extends KeyOptions {
  readonly from?: number
  readonly framing: Framing
  readonly json?: true
}

/** `cat` and `tail` show records in the same ways. */
function addReading(program: Command, name: string, description: string): Command {
  const command = program
    .command(name)
    .description(description)
    .argument('<dir>', 'directory of the log; it may be in use')
    .option('--from <lsn>', 'begin with the first record at or after this LSN', parseLsn)
    .addOption(
      new Option('--framing <how>', 'a newline behind each record, or 4 bytes of length before it')
        .choices(FRAMINGS)
        .default('line'),
    )
    .option('--json', 'print one line of JSON a record, its data in base64')
  return addKeys(command)
}

export function addCat(program: Command): void {
  addReading(program, 'cat', 'write the durable records to standard output, verified').action(cat)
}

export function addTail(program: Command): void {
  const description = 'the durable records, and each one that becomes durable, until interrupted'
  addReading(program, 'tail', description).action(tail)
}

async function tail(dir: string, { from = 0, framing, json, ...keys }: CatOptions): Promise<void> {
  const pieces = json ? asJson : (record: LogRecord) => frame(framing, record.data)
  await using log = await Log.open(dir, { readOnly: true, ...encryptionOptions(keys) })
  const output = new Output()
  for await (const record of log.tail({ from })) {
    output.add(pieces(record))
    await output.flush() // who follows wants each record now
  }
}

async function cat(dir: string, { from, framing, json, ...keys }: CatOptions): Promise<void> {
  const pieces = json ? asJson : (record: LogRecord) => frame(framing, record.data)
  await using log = await Log.open(dir, { readOnly: true, ...encryptionOptions(keys) })
  const output = new Output()
  try {
    for await (const record of log.scan(from === undefined ? {} : { from })) {
      if (output.add(pieces(record))) await output.flush()
    }
  } finally {
    // What was verified before damage was met is good, and belongs to whoever reads.
    await output.flush()
  }
}

function asJson({ lsn, data }: LogRecord): Buffer[] {
  const line = JSON.stringify({ lsn, length: data.length, data: data.toString('base64') })
  return [Buffer.from(`${line}\n`)]
}
