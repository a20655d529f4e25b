/** What is left of rings that come and go, of threads, and of processes that just end. */
import t from 'tap'
import { withRing } from '../support.ts'
import { runChild } from './support.ts'

withRing(t, '10,000 rings leave no descriptor, no thread and no memory behind', async t => {
  const { code, signal, stdout, stderr } = await runChild('ring-cycles.ts', ['10000'])
  t.equal(code, 0, `${signal} ${stderr}`)
  t.same(JSON.parse(stdout || '{}'), { files: 0, threads: 0, memory: 0 })
})

for (const how of ['exit', 'throw', 'SIGTERM'] as const) {
  withRing(t, `a process that ends in mid-everything (${how}) just ends`, async t => {
    const { code, signal, stderr } = await runChild('everything.ts', [how])
    const wanted = { exit: 7, throw: 1, SIGTERM: null }[how]
    t.equal(code, wanted, stderr)
    t.equal(signal, how === 'SIGTERM' ? 'SIGTERM' : null)
    t.equal(/FATAL|free\(\)|corrupt|AddressSanitizer|Assertion/.test(stderr), false, stderr)
  })
}

for (const how of ['terminate', 'exit'] as const) {
  withRing(t, `threads that end in mid-everything (${how}) leave nothing behind`, async t => {
    const { code, signal, stdout, stderr } = await runChild('threads.ts', [how, '6'])
    t.equal(code, 0, `${signal} ${stderr}`)
    t.same(JSON.parse(stdout || '{}'), { files: 0, threads: 0, memory: 0 }, stderr)
  })
}

withRing(t, 'messages between the rings of two threads', async t => {
  const { code, signal, stdout, stderr } = await runChild('two-threads.ts')
  t.equal(code, 0, `${signal} ${stderr}`)
  const told = JSON.parse(stdout || '{}')
  if (told.unsupported === true) return void t.pass('older than Linux 5.18')
  t.same(told, { received: 500, sum: 124_750, answers: 500, overflow: 0, inOrder: true })
})
