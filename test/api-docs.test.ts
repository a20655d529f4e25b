/** docs/API.md and docs/api say what the docstrings in the sources say, and nothing public is without one. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { apiDocs } from '../scripts/api-docs.ts'

const DOCS = new URL('../docs/', import.meta.url)

t.test('the API reference', async t => {
  const { pages, undocumented } = apiDocs()
  t.same(undocumented, [], 'all that is public has a docstring')
  for (const [name, text] of pages) {
    const isCurrent = readFileSync(new URL(name, DOCS), 'utf8') === text
    t.ok(isCurrent, `docs/${name} is up to date; if not, run \`npm run docs:api\``)
  }
  const committed = readdirSync(new URL('api', DOCS)).map(name => `api/${name}`)
  t.same(new Set(['API.md', ...committed]), new Set(pages.keys()), 'and there is no page besides')
  const api = pages.get('api/riolog.md')!
  t.match(api, '#### `log.appendDurable(record)`', 'members have sections')
  t.match(api, '`segmentSize?` | `number` | LSN space of a segment', 'options have rows')
  t.match(api, 'Throws [ERR_RIOLOG_BACKPRESSURE](../ERRORS.md#err_riolog_backpressure)')
})
