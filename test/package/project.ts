/** A project with nothing in it but the package, installed from its tarball without a network. */
import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BUILT_ADDON = join(ROOT, 'build/Release/riolog.node')

export interface Ran {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

export function execute(
  command: string,
  args: readonly string[],
  cwd: string,
  variables: NodeJS.ProcessEnv = {},
): Promise<Ran> {
  // npm tells its scripts of itself.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_PATH$|RIOLOG_)/i.test(name),
  )
  const env = { ...Object.fromEntries(inherited), ...variables }
  return new Promise(resolve => {
    // The test runner hooks itself into every Node by NODE_OPTIONS, with which the compiler cannot start.
    const all = ['-u', 'NODE_OPTIONS', command, ...args]
    execFile('env', all, { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    )
  })
}

/** Neither a registry nor what npm has kept of one, nor anybody's settings. */
export function npm(args: readonly string[], cwd: string, folder: string): Promise<Ran> {
  return execute('npm', args, cwd, {
    npm_config_cache: join(folder, 'npm-cache'),
    npm_config_userconfig: join(folder, 'npmrc'),
    npm_config_offline: 'true',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
  })
}

/** @returns the path of the tarball */
export async function pack(folder: string): Promise<string> {
  const args = ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder]
  const { code, stdout, stderr } = await npm(args, ROOT, folder)
  if (code !== 0) throw new Error(`npm pack: ${stderr}`)
  return join(folder, stdout.trim())
}

export class Project {
  readonly folder: string
  /** The installed package. */
  readonly riolog: string

  private constructor(folder: string) {
    this.folder = folder
    this.riolog = join(folder, 'node_modules/riolog')
  }

  static async install(tarball: string, folder: string): Promise<Project> {
    const project = new Project(join(folder, 'project'))
    mkdirSync(join(project.folder, 'node_modules'), { recursive: true })
    // npm takes what it finds there already, but only where the project itself depends on it.
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    project.write('package.json', JSON.stringify({ private: true, dependencies }))
    const copied = new Set<string>()
    for (const name of Object.keys(dependencies)) project.#copyPackage(name, ROOT, copied)
    const ran = await npm(['install', '--no-save', tarball], project.folder, folder)
    if (ran.code !== 0) throw new Error(`npm install: ${ran.stderr}`)
    // Beside riolog, so that npm does not take it away.
    for (const name of ['@types/node', 'undici-types']) project.#copyPackage(name, ROOT, copied)
    return project
  }

  /** With what it depends on, as this repository has it. */
  #copyPackage(name: string, from: string, copied: Set<string>): void {
    const source = findPackage(name, from)
    if (copied.has(source)) return
    copied.add(source)
    const place = source.slice(join(ROOT, 'node_modules/').length)
    const isOwn = (path: string) => !path.slice(source.length).includes('node_modules')
    cpSync(source, join(this.folder, 'node_modules', place), { recursive: true, filter: isOwn })
    const { dependencies = {}, bin = {} } = JSON.parse(
      readFileSync(join(source, 'package.json'), 'utf8'),
    )
    this.#linkCommands(name, typeof bin === 'string' ? { [name]: bin } : bin)
    for (const other of Object.keys(dependencies)) this.#copyPackage(other, source, copied)
  }

  /** npm fetches a package again when a command of it is missing. */
  #linkCommands(name: string, bin: Record<string, string>): void {
    const folder = join(this.folder, 'node_modules/.bin')
    mkdirSync(folder, { recursive: true })
    for (const [command, path] of Object.entries(bin)) {
      symlinkSync(join('..', name, path), join(folder, command))
    }
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name)
    writeFileSync(path, text)
    return path
  }

  /** Runs a program in a fresh working directory below the project. */
  async run(name: string, text: string, variables: NodeJS.ProcessEnv = {}): Promise<Ran> {
    this.write(name, text)
    const cwd = join(this.folder, `cwd-${name}`)
    rmSync(cwd, { recursive: true, force: true })
    mkdirSync(cwd)
    return execute(process.execPath, [join(this.folder, name)], cwd, variables)
  }

  /** The native part as `npm run build:prebuilds` leaves it: this machine's, and no other. */
  putPrebuild(platform: string): void {
    this.takeAddonsAway()
    const folder = join(this.riolog, 'prebuilds', platform)
    mkdirSync(folder, { recursive: true })
    cpSync(BUILT_ADDON, join(folder, 'riolog.node'))
  }

  /** The native part as a build from source leaves it. */
  putBuilt(): void {
    const folder = join(this.riolog, 'build/Release')
    mkdirSync(folder, { recursive: true })
    cpSync(BUILT_ADDON, join(folder, 'riolog.node'))
  }

  takeAddonsAway(): void {
    rmSync(join(this.riolog, 'prebuilds'), { recursive: true, force: true })
    rmSync(join(this.riolog, 'build'), { recursive: true, force: true })
  }
}

function findPackage(name: string, from: string): string {
  const place = join(from, 'node_modules', name)
  if (existsSync(join(place, 'package.json'))) return place
  if (from === dirname(from)) throw new Error(`there is no ${name}`)
  return findPackage(name, dirname(from))
}
