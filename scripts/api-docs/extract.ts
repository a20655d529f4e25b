/** What each entry point exports, with its docstrings: by api-extractor, from declarations made for it. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  CompilerState,
  Extractor,
  ExtractorConfig,
  ExtractorLogLevel,
} from '@microsoft/api-extractor'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Of what api-extractor writes (`.api.json`), that which is used here. */
export interface Item {
  readonly kind: string
  readonly name: string
  readonly canonicalReference: string
  readonly docComment?: string
  readonly excerptTokens?: readonly {
    readonly text: string
    readonly canonicalReference?: string
  }[]
  readonly members?: readonly Item[]
  readonly parameters?: readonly { readonly parameterName: string }[]
  readonly isStatic?: boolean
  readonly isOptional?: boolean
  readonly isProtected?: boolean
  /** The declaration's file. */
  readonly fileUrlPath?: string
}

export interface EntryPoint {
  /** As it is imported. */
  readonly name: string
  readonly source: string
  /** The class to begin with. */
  readonly first?: string
}

/** The items of each entry point, members in the order of their declarations. */
export function extract(entryPoints: readonly EntryPoint[]): Item[][] {
  // In the project, so that imports of packages are found.
  const folder = mkdtempSync(join(ROOT, 'build-api-'))
  try {
    declare(folder)
    const entries = entryPoints.map(({ source }) => join(folder, declarationOf(source)))
    const configs = entries.map(entry => configOf(folder, entry))
    // One for all of them: making it takes most of the time.
    const compilerState = CompilerState.create(configs[0], { additionalEntryPoints: entries })
    return configs.map(config => itemsOf(folder, config, compilerState))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Declarations of all sources, whatever they are built to. */
function declare(folder: string): void {
  const compilerOptions = {
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    rewriteRelativeImportExtensions: true,
    rootDir: '../src',
    outDir: '.',
  }
  const project = { extends: '../tsconfig.json', compilerOptions, include: ['../src'], exclude: [] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project))
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  // The test runner hooks itself into every Node by NODE_OPTIONS, with which the compiler cannot start.
  execFileSync('env', ['-u', 'NODE_OPTIONS', process.execPath, tsc, '-p', folder])
}

function declarationOf(source: string): string {
  return source.replace(/^src\//, '').replace(/\.ts$/, '.d.ts')
}

function configOf(folder: string, entry: string): ExtractorConfig {
  const { compilerOptions } = JSON.parse(readFileSync(join(ROOT, 'tsconfig.json'), 'utf8'))
  return ExtractorConfig.prepare({
    configObject: {
      projectFolder: ROOT,
      mainEntryPointFilePath: entry,
      compiler: { overrideTsconfig: { compilerOptions, files: [entry] } },
      docModel: {
        enabled: true,
        apiJsonFilePath: join(folder, 'model.api.json'),
        includeForgottenExports: true,
      },
      apiReport: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: join(ROOT, 'package.json'),
  })
}

function itemsOf(folder: string, config: ExtractorConfig, compilerState: CompilerState): Item[] {
  Extractor.invoke(config, { localBuild: true, compilerState, messageCallback: report })
  const model = JSON.parse(readFileSync(config.apiJsonFilePath, 'utf8'))
  const items: Item[] = model.members[0].members
  const texts = new Map<string, string>()
  return items.map(item => {
    const path = join(ROOT, item.fileUrlPath!)
    if (!texts.has(path)) texts.set(path, readFileSync(path, 'utf8'))
    const fileUrlPath = path.slice(folder.length + 1)
    return { ...item, fileUrlPath, members: inOrder(item, texts.get(path)!) }
  })
}

/** Its advice on style is not ours; what it could not do is an error. */
function report(message: { logLevel: string; text: string; handled: boolean }): void {
  message.handled = true
  if (message.logLevel === ExtractorLogLevel.Error) throw new Error(message.text)
}

/** api-extractor sorts members by name; whoever wrote them had a reason for another order. */
function inOrder({ kind, name, members: given = [] }: Item, text: string): Item[] {
  // A constructor has no name of its own.
  const members = given.map(member => ({ ...member, name: member.name ?? 'constructor' }))
  if (kind !== 'Class' && kind !== 'Interface') return members
  const start = text.search(new RegExp(`\\b(class|interface) ${name.replace(/_\d+$/, '')}\\b`))
  const place = (member: Item) => {
    const escaped = member.name.replace(/[.[\]()]/g, '\\$&')
    const found = new RegExp(`^ {4}(?:[a-z]+ )*${escaped}[?(<:]`, 'm').exec(text.slice(start))
    return found?.index ?? Number.POSITIVE_INFINITY
  }
  return [...members].sort((a, b) => place(a) - place(b))
}
