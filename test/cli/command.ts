/** The command as its users run it: a process with a standard input and output. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { bundle, startBundle } from '../support/bundled.ts'

const COMMAND = bundle('src/cli/main.ts')

export interface Ran {
  readonly code: number | null
  readonly stdout: Buffer
  /** Lines, without the warning that there is no io_uring here. */
  readonly stderr: readonly string[]
}

export function start(...args: string[]): ChildProcessWithoutNullStreams {
  return startBundle(COMMAND, args)
}

export async function finish(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  const [stdout, stderr, [code]] = await Promise.all([
    buffer(child.stdout),
    buffer(child.stderr),
    once(child, 'close'),
  ])
  return { code, stdout, stderr: linesOf(stderr).filter(line => !line.includes('warning: ')) }
}

/** Runs `riolog` on an input that comes in the given chunks, with a turn of the loop between them. */
export async function riolog(args: string[], ...input: (Buffer | string)[]): Promise<Ran> {
  const child = start(...args)
  // A command that fails early does not read its input.
  child.stdin.on('error', () => {})
  const finished = finish(child)
  for (const chunk of input) {
    await new Promise(resolve => child.stdin.write(chunk, resolve))
    await new Promise(resolve => setImmediate(resolve))
  }
  child.stdin.end()
  return finished
}

/** The one line of JSON that a command printed; throws when it printed anything else. */
export function jsonOf(ran: Ran): Record<string, unknown> {
  const lines = linesOf(ran.stdout)
  if (lines.length !== 1) throw new Error(`expected one line, got ${lines.length}: ${ran.stdout}`)
  return JSON.parse(lines[0])
}

export function linesOf(bytes: Buffer): string[] {
  return bytes.toString().split('\n').slice(0, -1)
}
