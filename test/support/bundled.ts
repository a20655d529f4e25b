/**
 * Programs of ours to be run as processes of their own, many times: in one file each, made once. Through tsx a
 * process takes longer to start than most of them live.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ADDON = join(ROOT, 'build/Release/riolog.node')

let folder: string | undefined

/** Two levels below the package, as the sources of the command are; removed when the process ends. */
function folderOfBundles(): string {
  if (folder !== undefined) return folder
  mkdirSync(join(ROOT, 'build'), { recursive: true })
  const made = mkdtempSync(join(ROOT, 'build/bundled-'))
  process.on('exit', () => rmSync(made, { recursive: true, force: true }))
  folder = made
  return made
}

/**
 * @param source relative to the package
 * @returns the path of the bundle, for {@link startBundle}
 */
export function bundle(source: string): string {
  const outfile = join(folderOfBundles(), `${basename(source, '.ts')}.mjs`)
  const how = { bundle: true, packages: 'external', platform: 'node', format: 'esm' } as const
  buildSync({ entryPoints: [join(ROOT, source)], outfile, target: 'node20', ...how })
  return outfile
}

/** The test runner hooks itself into every Node by NODE_OPTIONS, which takes as long again. */
export function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...rest } = process.env
  return { ...rest, RIOLOG_ADDON: ADDON }
}

export function startBundle(file: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [file, ...args], { cwd: ROOT, env: environment() })
}
