/** `riolog trim`: gives up the front of the log. */
import type { Command } from 'commander'
import { Log } from '../index.ts'
import { printFields, printJson } from './output.ts'
import { parseLsn } from './values.ts'

interface TrimOptions {
  readonly json?: true
}

export function addTrim(program: Command): void {
  program
    .command('trim')
    .description('give up the records before an LSN, and free the segments behind it')
    .argument('<dir>', 'directory of the log; it must not be in use')
    .argument('<lsn>', 'the oldest record to keep', parseLsn)
    .option('--json', 'print one line of JSON')
    .action(trim)
}

async function trim(dir: string, lsn: number, { json }: TrimOptions): Promise<void> {
  await using log = await Log.open(dir, { create: false })
  const trimLsn = await log.trim(lsn)
  const segments = log.info().segments.length
  await (json
    ? printJson({ ok: true, trimLsn, segments })
    : printFields({ 'trim LSN': trimLsn, segments }))
}
