/** Writes docs/API.md and docs/api from the docstrings: `npm run docs:api`. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type EntryPoint, extract, type Item } from './api-docs/extract.ts'
import { reachable, render, undocumented } from './api-docs/render.ts'

const ENTRY_POINTS: readonly EntryPoint[] = [
  { name: 'riolog', source: 'src/index.ts' },
  { name: 'riolog/ring', source: 'src/ring/index.ts', first: 'Ring' },
  { name: 'riolog/crash', source: 'src/crash/index.ts' },
]

/** The pages by their names in docs/, and the names of what has no docstring. */
export function apiDocs(): { pages: Map<string, string>; undocumented: string[] } {
  const extracted: Item[][] = extract(ENTRY_POINTS)
  const missing = new Set(extracted.map(reachable).flatMap(undocumented))
  return { pages: render(ENTRY_POINTS, extracted), undocumented: [...missing] }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const docs = fileURLToPath(new URL('../docs', import.meta.url))
  const { pages, undocumented } = apiDocs()
  for (const [name, text] of pages) {
    mkdirSync(dirname(join(docs, name)), { recursive: true })
    writeFileSync(join(docs, name), text)
  }
  if (undocumented.length > 0) console.error(`without a docstring: ${undocumented.join(', ')}`)
}
