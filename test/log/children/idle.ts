// A log that is open and idle: prints how often a thread of this process has gone to sleep again within a
// second (voluntary context switches, proc(5)), and the microseconds of CPU time that it took.
//
//   node --import=tsx idle.ts <directory> <engine>
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Log } from '../../../src/log/log.ts'

const IDLE_STAMP_MS = 50

function sleeps(): number {
  return readdirSync('/proc/self/task').reduce((sum, thread) => {
    const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8')
    return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)![1])
  }, 0)
}

const [path, engine] = process.argv.slice(2)
const log = await Log.open(path, {
  engine: engine as 'uring' | 'threadpool',
  idleStampMs: IDLE_STAMP_MS,
})
for (let i = 0; i < 1000; i++) await log.appendDurable(Buffer.alloc(100))
// The stamp is the last thing that it does by itself; what was compiled meanwhile is done, too.
await sleep(20 * IDLE_STAMP_MS)
const [sleptBefore, cpuBefore] = [sleeps(), process.cpuUsage()]
await sleep(1000)
const [slept, cpu] = [sleeps() - sleptBefore, process.cpuUsage(cpuBefore)]
console.log(JSON.stringify({ slept, cpuUs: cpu.user + cpu.system }))
await log.close()
