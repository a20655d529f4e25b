/** The tables of mutations name lines of the sources, which move: one that is not there any more tests nothing. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Mutation } from './mutations/mutation.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TABLES = join(ROOT, 'test/mutations')

for (const table of readdirSync(TABLES).filter(name => name !== 'mutation.ts')) {
  t.test(`each mutation of ${table} can be made`, async t => {
    const { MUTATIONS } = (await import(join(TABLES, table))) as { MUTATIONS: readonly Mutation[] }
    t.ok(MUTATIONS.length > 0)
    for (const { rule, name, file, from, to, tests } of MUTATIONS) {
      const of = `${rule}, ${name}`
      t.ok(readFileSync(join(ROOT, file), 'utf8').includes(from), `${of}: stands in ${file}`)
      t.not(from, to, `${of}: changes something`)
      for (const test of tests) t.ok(existsSync(join(ROOT, test)), `${of}: ${test} is there`)
    }
  })
}
