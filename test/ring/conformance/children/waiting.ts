/** Waits for what its argument says, and prints the CPU time of that. */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { POLL, Ring } from '../../../../src/ring/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-waiting-'))
execFileSync('mkfifo', [join(folder, 'fifo')])
const fifo = openSync(join(folder, 'fifo'), constants.O_RDWR)
rmSync(folder, { recursive: true })

const ring = Ring.open({ depth: 4, cqDepth: 4 })
const ignore = () => {}
const what = process.argv[2]
const read = (options?: { deadlineMs: number }) =>
  void ring.readAt(fifo, new Uint8Array(1), 0, options).catch(ignore)
if (what === 'read') read()
if (what === 'deadline') read({ deadlineMs: 600_000 })
if (what === 'multishot') ring.pollAll(fifo, POLL.IN).next().catch(ignore)
if (what === 'messages') ring.messages().next().catch(ignore)
if (what === 'full') for (let i = 0; i < 20; i++) read()
await delay(200) // so that what the start of the program left to do is done
const before = process.cpuUsage()
const started = Date.now()
await delay(400)
const used = process.cpuUsage(before)
const waitedMs = Date.now() - started
console.log(JSON.stringify({ spentMs: (used.user + used.system) / 1000, waitedMs }))
process.exit(0)
