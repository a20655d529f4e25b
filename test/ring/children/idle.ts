/** Leaves a ring open with nothing in flight; prints the CPU time of 300 ms, and then just ends. */
import { setTimeout as delay } from 'node:timers/promises'
import { Ring } from '../../../src/ring/index.ts'

const ring = Ring.open({ depth: 8 })
await ring.nop()
await delay(100) // so that what the start of the program left to do is done
const before = process.cpuUsage()
await delay(300)
const used = process.cpuUsage(before)
console.log(JSON.stringify({ cpuMs: (used.user + used.system) / 1000, inFlight: ring.inFlight }))
