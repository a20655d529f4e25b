/** What a ring costs that waits, and which thread it works on. */
import t from 'tap'
import { IORING_OP_NOP } from '../../../src/ring/abi.ts'
import { Ring, SETUP } from '../../../src/ring/index.ts'
import { openRing, withRing } from '../support.ts'
import { queueOf, runChild } from './support.ts'

withRing(
  t,
  'a ring that waits for something uses no CPU, nor does one that waits for nothing',
  async t => {
    for (const what of ['read', 'deadline', 'multishot', 'messages', 'full', 'nothing']) {
      const { code, stdout, stderr } = await runChild('waiting.ts', [what])
      t.equal(code, 0, stderr)
      const { spentMs, waitedMs } = JSON.parse(stdout || '{}')
      t.ok(spentMs * 4 < waitedMs, `${what}: ${spentMs} ms of CPU time in ${waitedMs} ms`)
    }
  },
)

withRing(t, 'a ring that has worked and waits for nothing lets its process end', async t => {
  const { code, signal, stdout, stderr } = await runChild('ends.ts', [], { mostMs: 20_000 })
  t.equal(signal, null, 'it ended by itself')
  t.equal(code, 0, stderr)
  t.equal(stdout.trim(), '0')
})

/** The flags that the kernel takes, asked for by name. */
async function taken(setupFlags: number): Promise<boolean> {
  try {
    await Ring.open({ depth: 1, setupFlags }).close()
    return true
  } catch {
    return false
  }
}

withRing(t, 'a ring has SINGLE_ISSUER and COOP_TASKRUN where the kernel has them', async t => {
  const ring = openRing(t)
  for (const flag of [SETUP.SINGLE_ISSUER, SETUP.COOP_TASKRUN, SETUP.SUBMIT_ALL]) {
    t.equal((ring.probe().setupFlags & flag) !== 0, await taken(flag), `flag ${flag}`)
  }
})

withRing(t, 'what is asked for in one turn is one submission; awaiting it submits it', async t => {
  const ring = openRing(t, { depth: 64 })
  const queue = queueOf(ring)
  queue.traceOn()
  const first = Array.from({ length: 20 }, () => ring.nop())
  t.same(queue.takeTrace(), [], 'nothing goes before the end of the turn')
  await first[0]
  const trace = queue.takeTrace()
  t.equal(trace.length, 20)
  t.ok(trace.every(sqe => sqe.opcode === IORING_OP_NOP && sqe.enterCall === trace[0].enterCall))
  await Promise.all(first)
  const held = Array.from({ length: 5 }, () => ring.nop())
  held[4].waitSync()
  t.equal(new Set(queue.takeTrace().map(sqe => sqe.enterCall)).size, 1, 'waitSync, too')
  await Promise.all(held)
})
