/** What a command says when it fails, and the exit code that goes with it. */
import { CommanderError } from 'commander'
import { CorruptionError, RiologError } from '../errors.ts'
import { printJson } from './output.ts'

const EXIT_FAILURE = 1
const EXIT_BAD_USAGE = 2

/** Errors to commander, which has written what was asked for; the last came for want of a command. */
const TOLD_BY_COMMANDER = new Set([
  'commander.version',
  'commander.helpDisplayed',
  'commander.help',
])

/** The error that a command failed with, and what it had done by then, for its line of JSON. */
export class FailedWith extends Error {
  readonly fields: object

  constructor(cause: unknown, fields: object) {
    super('', { cause })
    this.fields = fields
  }
}

/** Tells of an error and returns the exit code. */
export async function fail(error: unknown, asJson: boolean): Promise<number> {
  if (error instanceof FailedWith) return failWith(error.cause, asJson, error.fields)
  return failWith(error, asJson, {})
}

async function failWith(error: unknown, asJson: boolean, done: object): Promise<number> {
  const code = codeOf(error)
  if (error instanceof CommanderError && TOLD_BY_COMMANDER.has(error.code)) {
    return error.exitCode === 0 ? 0 : EXIT_BAD_USAGE
  }
  // Whoever read our output has left, as `head` does: nothing is wrong with the command itself.
  if (code === 'EPIPE') return Number(process.exitCode ?? 0)
  const message = messageOf(error)
  process.stderr.write(`riolog: ${message} (${code})\n`)
  if (code === UNKNOWN && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  if (asJson) {
    await printJson({ ok: false, code, message, ...placeOf(error), ...done }).catch(() => {})
  }
  return isBadUsage(error) ? EXIT_BAD_USAGE : EXIT_FAILURE
}

const UNKNOWN = 'ERR_UNKNOWN'

function codeOf(error: unknown): string {
  if (error instanceof CommanderError) return 'ERR_RIOLOG_INVALID_ARGUMENT'
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : UNKNOWN
}

/** In one line, whatever the message has in it. */
function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')
}

function placeOf(error: unknown): object {
  if (!(error instanceof CorruptionError)) return {}
  const { segment, offset, lsn } = error
  return { segment, offset, lsn }
}

/** An option of the log can only be wrong because an option of the command was. */
function isBadUsage(error: unknown): boolean {
  if (error instanceof CommanderError) return true
  return error instanceof RiologError && error.code === 'ERR_RIOLOG_INVALID_OPTION'
}
