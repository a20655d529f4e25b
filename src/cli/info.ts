/** `riolog info`: what the log is made of. */
import type { Command } from 'commander'
import prettyBytes from 'pretty-bytes'
import { Log, type LogInfo } from '../index.ts'
import { printFields, printJson, printTable } from './output.ts'

/** Characters of a segment's metadata; `--json` has all of it. */
const MOST_SHOWN = 60

interface InfoOptions {
  readonly json?: true
}

export function addInfo(program: Command): void {
  program
    .command('info')
    .description('show what the log is made of')
    .argument('<dir>', 'directory of the log; it may be in use')
    .option('--json', 'print one line of JSON')
    .action(info)
}

async function info(dir: string, { json }: InfoOptions): Promise<void> {
  await using log = await Log.open(dir, { readOnly: true })
  const found = log.info()
  if (json) {
    const segments = found.segments.map(segment => {
      return { ...segment, metadata: segment.metadata.toString('base64') }
    })
    return printJson({ ok: true, ...found, segments })
  }
  await printFields(fieldsOf(found))
  await printSegments(found)
}

function fieldsOf(found: LogInfo): Record<string, string | number> {
  const { verdict, tornAt } = found.recovery
  const torn = tornAt && ` at segment ${tornAt.segment}, offset ${tornAt.offset}`
  return {
    path: found.path,
    uuid: found.uuid,
    epoch: found.epoch,
    engine: found.engine,
    alignment: size(found.alignment),
    'segment size': size(found.segmentSize),
    'longest record': size(found.maxRecordBytes),
    verdict: verdict + (torn ?? ''),
    'durable LSN': found.durableLsn,
    'trim LSN': found.trimLsn,
    segments: found.segments.length,
  }
}

async function printSegments({ segments }: LogInfo): Promise<void> {
  if (segments.length === 0) return
  const withMetadata = segments.some(({ metadata }) => metadata.length > 0)
  const rows = segments.map(({ number, firstLsn, fileBytes, metadata }) => [
    String(number),
    String(firstLsn),
    prettyBytes(fileBytes, { binary: true }),
    ...(withMetadata ? [shown(metadata)] : []),
  ])
  const head = ['segment', 'first LSN', 'file', ...(withMetadata ? ['metadata'] : [])]
  await printTable([head, ...rows])
}

/** Printable ASCII as it is, anything else in base64: nothing here may steer a terminal. */
function shown(metadata: Buffer): string {
  const text = metadata.toString('latin1')
  const whole = /^[ -~]*$/.test(text) ? text : `base64:${metadata.toString('base64')}`
  return whole.length > MOST_SHOWN ? `${whole.slice(0, MOST_SHOWN)}…` : whole
}

function size(bytes: number): string {
  return `${bytes} (${prettyBytes(bytes, { binary: true })})`
}
