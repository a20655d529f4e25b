#!/usr/bin/env node
/** The `riolog` command. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import { addAppend } from './append.ts'
import { addCat, addTail } from './cat.ts'
import { addCrash } from './crash.ts'
import { addDump } from './dump.ts'
import { fail } from './failure.ts'
import { addInfo } from './info.ts'
import { addSalvage } from './salvage.ts'
import { addStats } from './stats.ts'
import { addTrim } from './trim.ts'
import { addVerify } from './verify.ts'

// From src/cli and from dist/cli alike.
const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }

const program = new Command('riolog')
  .description('A durable append-only log.')
  .version(version)
  // Errors come back here, so that every one of them is told in the same way.
  .exitOverride()
  .configureOutput({ outputError: () => {} })

addAppend(program)
addCat(program)
addTail(program)
addTrim(program)
addVerify(program)
addInfo(program)
addDump(program)
addStats(program)
addSalvage(program)
addCrash(program)

// A warning is one line too; Node's own way takes two, and names flags of Node.
process.removeAllListeners('warning')
process.on('warning', ({ message }) => process.stderr.write(`riolog: warning: ${message}\n`))

try {
  await program.parseAsync()
} catch (error) {
  // Asked of the arguments themselves: those that cannot be parsed may say it too.
  process.exitCode = await fail(error, process.argv.includes('--json'))
}
