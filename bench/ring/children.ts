/** The processes that are measured, and what they print. */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** `--import=tsx` is looked up from the working directory. */
export const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))

/** By which a child that should have ended is late when it is killed. */
export const GRACE_MS = 60_000
const MAX_OUTPUT = 16 << 20

export type Command = readonly [program: string, ...args: string[]]

/** @param script beside this file */
export function node(script: string, ...args: string[]): Command {
  return [process.execPath, '--import=tsx', pathOf(script), ...args]
}

export function absentScript(script: string): string | undefined {
  return existsSync(pathOf(script)) ? undefined : `there is no bench/ring/${script}`
}

function pathOf(script: string): string {
  return fileURLToPath(new URL(script, import.meta.url))
}

/** Returns what it printed on standard output; rejects when it fails, with what it said. @param started told at once */
export async function run(
  command: Command,
  seconds: number,
  env: NodeJS.ProcessEnv = process.env,
  started: (pid: number | undefined) => void = () => {},
): Promise<string> {
  const [program, ...args] = command
  const timeout = seconds * 1000 + GRACE_MS
  const options = { cwd: PACKAGE, env, timeout, maxBuffer: MAX_OUTPUT }
  const running = promisify(execFile)(program, args, options)
  started(running.child.pid)
  return (await running).stdout
}

export interface Program {
  readonly path: string
  /** Why there is none. */
  readonly absent: string | undefined
}

/** Compiles bench/c/`name`.c into `folder`. */
export function buildC(name: string, folder: string): Program {
  const path = join(folder, name)
  const source = fileURLToPath(new URL(`../c/${name}.c`, import.meta.url))
  try {
    const args = ['-O2', '-Wall', '-Wextra', '-Werror', '-o', path, source, '-lm']
    execFileSync('cc', args, { stdio: 'pipe' })
    return { path, absent: undefined }
  } catch (error) {
    return { path, absent: `bench/c/${name}.c does not compile: ${reason(error)}` }
  }
}

/** Why a child failed: what it said on standard error, if it said something. */
export function reason(error: unknown): string {
  const { stderr } = error as { stderr?: unknown }
  const said = String(stderr ?? '').trim()
  return said === '' ? String(error instanceof Error ? error.message : error) : said
}

/** The named numbers of a line of JSON. One that is missing must not become a NaN in a table. */
export function numbers<Name extends string>(
  line: string,
  ...names: readonly Name[]
): Record<Name, number> {
  const value = JSON.parse(line) as Record<string, unknown>
  for (const name of names) {
    if (!Number.isFinite(value[name])) throw new Error(`no number ${name} in ${line}`)
  }
  return value as Record<Name, number>
}

export function lastLine(output: string): string {
  return output.trimEnd().split('\n').at(-1)!
}
