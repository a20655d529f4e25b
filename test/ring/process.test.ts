/** What becomes of a ring when its process, thread or owner ends: each in a child process. */
import t from 'tap'
import { runChild, withRing } from './support.ts'

withRing(t, 'an idle ring does not keep the process alive, and uses no CPU', async t => {
  const { code, signal, stdout, stderr, ms } = await runChild('idle.ts')
  t.equal(code, 0, `${signal} ${stderr}`)
  const { cpuMs, inFlight } = JSON.parse(stdout)
  t.equal(inFlight, 0)
  t.ok(cpuMs < 30, `${cpuMs} ms of CPU time in 300 ms`)
  t.ok(ms < 60_000, 'it ended by itself')
})

for (const [how, code, signal] of [
  ['exit', 7, null],
  ['throw', 1, null],
  ['kill', null, 'SIGTERM'],
] as const) {
  withRing(t, `a process that ends in full flight (${how}) just ends`, async t => {
    for (let i = 0; i < 3; i++) {
      const ended = await runChild('exit.ts', [how])
      t.equal(ended.signal, signal, ended.stderr)
      t.equal(ended.code, code, ended.stderr)
      t.equal(/FATAL|free\(\)|corrupt|AddressSanitizer/.test(ended.stderr), false)
    }
  })
}

withRing(
  t,
  'rings and buffers that are dropped are collected, once nothing is in flight',
  async t => {
    const { code, signal, stdout, stderr } = await runChild('collect.ts')
    t.equal(code, 0, `${signal} ${stderr}`)
    const { afterIdle, whileInFlight, atEnd } = JSON.parse(stdout)
    t.equal(afterIdle, 0, 'an idle ring that nobody has goes away with its descriptor')
    t.same(whileInFlight, { files: 10, memory: 30 }, 'what is in flight stays')
    t.same(atEnd, { files: 0, memory: 0, settled: 40 })
  },
)

withRing(t, '1,000 rings opened and closed leave no descriptor and no memory behind', async t => {
  const { code, signal, stdout, stderr } = await runChild('cycles.ts')
  t.equal(code, 0, `${signal} ${stderr}`)
  t.same(JSON.parse(stdout || '{}'), { files: 0, memory: 0 })
})

for (const [how, rounds] of [
  ['terminate', 15],
  ['exit', 3],
  ['throw', 3],
] as const) {
  withRing(
    t,
    `${rounds} workers that end in full flight (${how}) leave nothing behind`,
    async t => {
      const { code, signal, stdout, stderr } = await runChild('workers.ts', [how, String(rounds)])
      t.equal(code, 0, `${signal} ${stderr}`)
      t.same(JSON.parse(stdout || '{}'), { files: 0, memory: 0 }, stderr)
    },
  )
}
