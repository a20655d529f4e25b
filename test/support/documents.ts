/** The documents of the project, by their paths in it. */
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Those that somebody has written; docs/api is made from the docstrings. */
export const DOCUMENTS: readonly string[] = [
  'README.md',
  ...readdirSync(`${ROOT}/docs`)
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
  ...readdirSync(`${ROOT}/examples`)
    .map(name => `examples/${name}/README.md`)
    .filter(name => existsSync(`${ROOT}/${name}`)),
]
