/**
 * Adds the three system calls of io_uring to a container's seccomp profile, and changes nothing else:
 *
 *   node allow-io-uring.mjs default.json > riolog.json
 */
import { readFileSync } from 'node:fs'

const rule = JSON.parse(readFileSync(new URL('io-uring.json', import.meta.url), 'utf8'))

const [file] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: node allow-io-uring.mjs PROFILE > NEW')
  process.exit(2)
}
const profile = JSON.parse(readFileSync(file, 'utf8'))
// Whatever the profile says of them now.
const others = profile.syscalls
  .map(({ names, ...rest }) => ({
    names: names.filter(name => !rule.names.includes(name)),
    ...rest,
  }))
  .filter(({ names }) => names.length > 0)
console.log(JSON.stringify({ ...profile, syscalls: [...others, rule] }, undefined, 2))
