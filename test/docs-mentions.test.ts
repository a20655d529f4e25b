/** What the documents speak of is there: pages, files, scripts of npm, commands and their options. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { riolog } from './cli/command.ts'
import { DOCUMENTS, ROOT } from './support/documents.ts'

const PAGES = [...DOCUMENTS, ...readdirSync(join(ROOT, 'docs/api')).map(name => `docs/api/${name}`)]
const textOf = (document: string) => readFileSync(join(ROOT, document), 'utf8')
/** Looks like a command, and is a text of the format. */
const NO_COMMAND = 'riolog record 1'
const blocksOf = (text: string) => (text.match(/^```[\s\S]*?^```$/gm) ?? []).join('\n')
const withoutCode = (text: string) => text.replace(/^```[\s\S]*?^```$/gm, '')

/** Where a link can lead to in a page: its headings, as GitHub names them, and its own anchors. */
function anchorsOf(document: string): Set<string> {
  const text = withoutCode(textOf(document))
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replace(/ /g, '-'),
  )
  return new Set([...headings, ...[...text.matchAll(/<a id="([^"]+)">/g)].map(found => found[1])])
}

t.test('links lead somewhere', async t => {
  const known = new Map<string, Set<string>>()
  for (const document of PAGES) {
    const missing = []
    for (const [, target] of withoutCode(textOf(document)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path, anchor] = target.split('#')
      const page = path === '' ? document : join(dirname(document), path)
      if (!existsSync(join(ROOT, page))) missing.push(target)
      else if (anchor !== undefined) {
        if (!known.has(page)) known.set(page, anchorsOf(page))
        if (!known.get(page)!.has(anchor)) missing.push(target)
      }
    }
    t.same(missing, [], document)
  }
})

t.test('files of the project that are named are there', async t => {
  for (const document of DOCUMENTS) {
    const named = [
      ...textOf(document).matchAll(
        /`((?:src|test|scripts|bench|examples|native|docs)\/[\w./-]*)`/g,
      ),
    ]
    const isThere = (path: string) =>
      existsSync(join(ROOT, path)) || existsSync(join(ROOT, dirname(document), path))
    const missing = named.map(([, path]) => path).filter(path => !isThere(path))
    t.same(missing, [], document)
  }
})

t.test('scripts of npm that are named are there', async t => {
  const { scripts } = JSON.parse(textOf('package.json'))
  for (const document of DOCUMENTS) {
    const text = textOf(document).replace(/npm\nrun/g, 'npm run')
    const named = [...text.matchAll(/\bnpm run (?:-s |--silent )?([\w:-]+)/g)].map(
      found => found[1],
    )
    if (/\bnpm start\b/.test(text)) named.push('start')
    if (/\bnpm test\b/.test(text)) named.push('test')
    t.same(
      named.filter(name => scripts[name] === undefined),
      [],
      document,
    )
  }
})

t.test('commands that are named are there, with their options', async t => {
  const overview = String((await riolog(['--help'])).stdout)
  const commands = new Set([...overview.matchAll(/^ {2}([a-z]+) /gm)].map(found => found[1]))
  const help = new Map<string, string>()
  for (const document of DOCUMENTS) {
    const text = textOf(document)
    const spans = [...text.matchAll(/`(riolog [a-z]+(?: [^`]*)?)`/g)].map(found => found[1])
    const lines = [...blocksOf(text).matchAll(/^(?:npx )?(riolog [a-z]+ .*)$/gm)].map(
      found => found[1],
    )
    for (const line of [...spans, ...lines]) {
      if (line === NO_COMMAND) continue
      const [, command] = line.split(' ')
      if (!commands.has(command)) {
        t.fail(`${document}: there is no command of \`${line}\``)
        continue
      }
      if (!help.has(command)) help.set(command, String((await riolog([command, '--help'])).stdout))
      for (const [option] of line.matchAll(/--[a-z-]+/g)) {
        t.ok(help.get(command)!.includes(option), `${document}: ${command} ${option}`)
      }
    }
  }
  t.same(
    [...help.keys()].sort(),
    [...commands].sort().filter(name => name !== 'help'),
    'and no command is left out',
  )
})
