/** The reference as Markdown: a page for each entry point, and one that lists them. */
import type { EntryPoint, Item } from './extract.ts'

const NOTE = '<!-- Made from the docstrings by `npm run docs:api`: change those, not this. -->'
const WIDTH = 100

interface Page {
  readonly entry: EntryPoint
  readonly file: string
  /** What this page describes, the exports first. */
  readonly items: readonly Item[]
  /** Exported here, and described on a page before. */
  readonly elsewhere: readonly string[]
}

interface Doc {
  readonly text: string
  readonly tags: readonly { readonly tag: string; readonly text: string }[]
}

/** A link by the name of an export, or of a member of the class that is being described. */
type Links = ReadonlyMap<string, string>

const GROUPS: readonly [title: string, (item: Item) => boolean][] = [
  ['Functions', item => isExported(item) && item.kind === 'Function'],
  ['Classes', item => isExported(item) && isClass(item)],
  ['What these classes extend', item => !isExported(item) && isClass(item)],
  ['Errors', item => isExported(item) && isError(item)],
  ['Options, results and other types', item => isExported(item) && isType(item)],
  ['Constants', item => isExported(item) && item.kind === 'Variable'],
  ['What these are made of', item => !isExported(item) && !isClass(item)],
]

/** The pages by their names in docs/. */
export function render(
  entryPoints: readonly EntryPoint[],
  extracted: readonly Item[][],
): Map<string, string> {
  const pages = pagesOf(entryPoints, extracted)
  const links = new Map<string, string>()
  for (const { file, items } of pages) {
    for (const { name } of items) if (!links.has(name)) links.set(name, `${file}#${anchor(name)}`)
  }
  const rendered = pages.map(page => [`api/${page.file}`, renderPage(page, links)] as const)
  return new Map([['API.md', renderIndex(pages)], ...rendered])
}

/** What has no docstring, as `Class.member`. */
export function undocumented(items: readonly Item[]): string[] {
  return items.flatMap(item => {
    const members = membersOf(item).filter(member => docOf(member).text === '')
    const own = docOf(item).text === '' ? [item.name] : []
    return [...own, ...members.map(({ name }) => `${item.name}.${name}`)]
  })
}

/** The exports of an entry point, and what their declarations mention; each with the docstrings that it inherits. */
export function reachable(items: readonly Item[]): Item[] {
  const byReference = new Map<string, Item[]>()
  for (const item of items) {
    const key = plain(item.canonicalReference)
    byReference.set(key, [...(byReference.get(key) ?? []), item])
  }
  const mentioned = (tokens: Item['excerptTokens'] = []) =>
    tokens.flatMap(
      ({ canonicalReference = '' }) => byReference.get(plain(canonicalReference)) ?? [],
    )
  const docsOf = (item: Item): Map<string, string | undefined> => {
    const isContainer = item.kind === 'Class' || item.kind === 'Interface'
    const bases = isContainer ? mentioned(item.excerptTokens) : []
    const own = (item.members ?? []).filter(({ docComment }) => docComment)
    const inherited = bases.filter(base => base !== item).flatMap(base => [...docsOf(base)])
    return new Map([...inherited, ...own.map(m => [m.name, m.docComment] as const)])
  }
  const documented = (item: Item): Item => {
    if (item.members === undefined) return item
    const docs = docsOf(item)
    const members = item.members.map(member => {
      const docComment = member.docComment || docs.get(member.name)
      return docComment === undefined ? member : { ...member, docComment }
    })
    return { ...item, members }
  }
  const found = new Set(items.filter(isExported))
  for (const item of found) for (const next of mentioned(tokensOf(item))) found.add(next)
  return [...found].map(documented)
}

function pagesOf(entryPoints: readonly EntryPoint[], extracted: readonly Item[][]): Page[] {
  const described = new Set<string>()
  return entryPoints.map((entry, i) => {
    const all = reachable(extracted[i])
    const identity = ({ fileUrlPath, name }: Item) => `${fileUrlPath} ${name}`
    const isFirst = ({ name }: Item) => Number(name === entry.first)
    const items = all
      .filter(item => !described.has(identity(item)))
      .sort((a, b) => isFirst(b) - isFirst(a))
    const elsewhere = all.filter(item => isExported(item) && !items.includes(item))
    for (const item of items) described.add(identity(item))
    const file = `${entry.name.replace(/^riolog\//, '')}.md`
    return { entry, file, items, elsewhere: elsewhere.map(({ name }) => name) }
  })
}

function renderIndex(pages: readonly Page[]): string {
  const lines = [NOTE, '', '# API reference', '']
  lines.push(
    'Every export of each entry point, made from the docstrings in the sources. Bytes, milliseconds and LSNs',
    'are plain numbers. Errors have a `code`; [ERRORS.md](ERRORS.md) says when each comes and what to do.',
    '',
  )
  for (const { entry, file, items, elsewhere } of pages) {
    lines.push(`## [\`${entry.name}\`](api/${file})`, '')
    for (const [title, belongs] of GROUPS) {
      const names = items
        .filter(isExported)
        .filter(belongs)
        .map(({ name }) => name)
      const linked = [...new Set(names)].map(name => `[${name}](api/${file}#${anchor(name)})`)
      if (linked.length > 0) lines.push(`${title}: ${linked.join(', ')}`, '')
    }
    if (elsewhere.length > 0) lines.push(`Also from \`riolog\`: ${elsewhere.join(', ')}`, '')
  }
  return finish(lines)
}

function renderPage({ entry, items, elsewhere }: Page, links: Links): string {
  const lines = [NOTE, '', `# \`${entry.name}\``, '']
  lines.push('[All entry points](../API.md) · [Errors](../ERRORS.md)', '')
  if (elsewhere.length > 0) {
    const linked = elsewhere.map(name => `[${name}](${links.get(name)})`)
    lines.push(`Also exported here: ${linked.join(', ')}.`, '')
  }
  for (const [title, belongs] of GROUPS) {
    const group = items.filter(belongs)
    if (group.length === 0) continue
    lines.push(`## ${title}`, '')
    for (const item of group) lines.push(...renderItem(item, links))
  }
  return finish(lines)
}

function renderItem(item: Item, outer: Links): string[] {
  const members = membersOf(item)
  const own = members.map(({ name }) => [name, `#${anchor(item.name, name)}`] as const)
  const links = new Map([...outer, ...own])
  const doc = docOf(item)
  const lines = [`<a id="${anchor(item.name)}"></a>`, `### ${item.name}`, '']
  lines.push(...fence(signatureOf(item)), ...prose(doc, links), ...mentions(item, outer))
  const properties = members.filter(isProperty)
  if (properties.length > 0) lines.push(...propertyTable(item, properties, links, outer))
  const methods = groupByName(members.filter(member => !isProperty(member)))
  for (const overloads of methods.values()) lines.push(...renderMethod(item, overloads, links))
  return lines
}

function groupByName(items: readonly Item[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>()
  for (const item of items) groups.set(item.name, [...(groups.get(item.name) ?? []), item])
  return groups
}

function propertyTable(
  item: Item,
  properties: readonly Item[],
  links: Links,
  types: Links,
): string[] {
  const rows = properties.map(property => {
    const name = `${property.name}${property.isOptional ? '?' : ''}`
    const type = signatureOf(property)
      .replace(/^.*?\b(?:get )?[\w$]+\??(?:\(\))?(?::| =) /s, '')
      .replace(/\s+/g, ' ')
      .replace(/; \}/g, ' }')
      .replace(property.isOptional ? / \| undefined$/ : /$^/, '')
    const { text, tags } = docOf(property)
    const throwing = tags.filter(({ tag }) => tag === 'throws').map(tag => `Throws ${tag.text}`)
    const told = [text, ...throwing].map(part => inline(part, links)).join(' ')
    const cells = [
      `<a id="${anchor(item.name, property.name)}"></a>\`${name}\``,
      linked(type, types),
    ]
    return `| ${[...cells, told].map(cell => cell.replace(/\|/g, '\\|').replace(/\s+/g, ' ')).join(' | ')} |`
  })
  return ['| property | type | |', '|---|---|---|', ...rows, '']
}

function renderMethod(item: Item, overloads: readonly Item[], links: Links): string[] {
  const [first] = overloads
  const names = (first.parameters ?? [])
    .map(({ parameterName }) => parameterName)
    .filter(name => name !== 'this')
  const receiver = first.isStatic ? item.name : `${item.name[0].toLowerCase()}${item.name.slice(1)}`
  const call = `${first.name.startsWith('[') ? receiver : `${receiver}.`}${first.name}(${names.join(', ')})`
  const title = first.kind === 'Constructor' ? `new ${item.name}(${names.join(', ')})` : call
  const lines = [`<a id="${anchor(item.name, first.name)}"></a>`, `#### \`${title}\``, '']
  for (const overload of overloads) {
    lines.push(...fence(signatureOf(overload)), ...prose(docOf(overload), links))
    lines.push(...mentions(overload, links))
  }
  return lines
}

/** Where the types of a declaration are described. */
function mentions(item: Item, links: Links): string[] {
  const names = new Set((item.excerptTokens ?? []).map(({ text }) => text.replace(/^.*\./, '')))
  const found = [...names].filter(name => name !== item.name && links.get(name)?.includes('.md#'))
  if (found.length === 0) return []
  return [`Types: ${found.map(name => `[${name}](${links.get(name)})`).join(', ')}`, '']
}

function linked(type: string, links: Links): string {
  const target = links.get(type.replace(/ \| undefined$/, ''))
  return target === undefined ? `\`${type}\`` : `[\`${type}\`](${target})`
}

function prose({ text, tags }: Doc, links: Links): string[] {
  const lines = text === '' ? [] : [inline(text, links), '']
  const told = tags.map(({ tag, text }) => {
    if (tag === 'param') return text.replace(/^(\S+)(?: -)?\s*/, '- `$1`: ')
    return `- ${tag === 'returns' ? 'Returns' : 'Throws'} ${text.replace(/^: /, '')}`
  })
  if (told.length > 0) lines.push(...told.map(line => inline(line, links)), '')
  return lines
}

/** Codes and names become links. */
function inline(text: string, links: Links): string {
  return text
    .replace(/\{@link ([\w.]+)\}/g, (_, name: string) => {
      const target = links.get(name)
      return target === undefined ? `\`${name}\`` : `[\`${name}\`](${target})`
    })
    .replace(/\bERR_RIOLOG_[A-Z_]+\b/g, code => `[${code}](../ERRORS.md#${code.toLowerCase()})`)
}

/** A docstring in parts. api-extractor has put it into one shape: each tag begins a line. */
function docOf({ docComment = '' }: Item): Doc {
  const bare = docComment
    .replace(/^\/\*\*\s*|\s*\*\/\s*$/g, '')
    .replace(/^ *\* ?/gm, '')
    .replace(/^ +(?=\S)/gm, '')
    // api-extractor's words on a constructor that is internal.
    .replace(/^@remarks\s+The constructor for this class is marked[^\n]*\n?/m, '')
    .replace(/^Constructs a new instance of the `\w+` class$/m, '')
    .replace(/\\([{}<>@*])/g, '$1')
  const [text, ...parts] = bare.split(/^@(?=(?:param|returns|throws|typeParam)\b)/m)
  const tags = parts.map(part => {
    const [, tag, rest] = /^(\w+)\s*([\s\S]*)$/.exec(part)!
    return { tag, text: rest.trim().replace(/\n+/g, '\n  ') }
  })
  return { text: text.trim(), tags }
}

function signatureOf(item: Item): string {
  const text = (item.excerptTokens ?? [])
    .map(({ text }) => text)
    .join('')
    .replace(/^( {4})+/gm, indent => ' '.repeat(indent.length / 2))
  const bare = text
    .replace(/^export (declare )?/, '')
    .replace(/;$/, '')
    .trim()
  const isCall = item.parameters !== undefined
  return isCall ? bare.replace(/\s+/g, ' ').replace(/; \}/g, ' }') : bare
}

function fence(signature: string): string[] {
  return ['```ts', signature.length > WIDTH ? wrapped(signature) : signature, '```', '']
}

/** A long list of parameters or elements, one a line. */
function wrapped(signature: string): string {
  const open = signature.search(/\(/) >= 0 ? signature.indexOf('(') : signature.search(/[[<]/)
  if (open < 0 || signature.includes('\n')) return signature
  const parts: string[] = []
  let [depth, start] = [0, open + 1]
  for (let i = start; i < signature.length; i++) {
    const c = signature[i]
    if ('([{<'.includes(c)) depth++
    else if (')]}'.includes(c) || (c === '>' && signature[i - 1] !== '=')) depth--
    if (depth > 0 || (depth === 0 && c !== ',')) continue
    parts.push(`\n  ${signature.slice(start, i).trim()}`)
    if (depth < 0) return `${signature.slice(0, open + 1)}${parts.join(',')}\n${signature.slice(i)}`
    start = i + 1
  }
  return signature
}

/** The name of an error is that of its class. */
function membersOf(item: Item): Item[] {
  const { members = [] } = item
  return members.filter(
    ({ name, isProtected }) => !isProtected && !(isError(item) && name === 'name'),
  )
}

function tokensOf(item: Item): Exclude<Item['excerptTokens'], undefined>[number][] {
  return [...(item.excerptTokens ?? []), ...(item.members ?? []).flatMap(tokensOf)]
}

/** A reference without what tells apart exported from not, and overloads from each other. */
function plain(reference: string): string {
  return reference.replace('!~', '!').replace(/:.*$/, '')
}

function isExported({ canonicalReference }: Item): boolean {
  return !canonicalReference.includes('!~')
}

function isError({ kind, name }: Item): boolean {
  return kind === 'Class' && /(Error|Violation|PowerCut)$/.test(name)
}

function isClass(item: Item): boolean {
  return item.kind === 'Class' && !isError(item)
}

function isType({ kind }: Item): boolean {
  return kind === 'Interface' || kind === 'TypeAlias'
}

function isProperty({ kind }: Item): boolean {
  return kind === 'Property' || kind === 'PropertySignature'
}

function anchor(...names: string[]): string {
  return names
    .join('-')
    .toLowerCase()
    .replace(/[^\w-]/g, '')
}

function finish(lines: readonly string[]): string {
  return `${lines.join('\n').trimEnd()}\n`
}
