/** A process that is measured: it does one task, as its parent orders. */
import { isMainThread } from 'node:worker_threads'
import type { Answer, Order } from './children.ts'
import type { Session } from './contender.ts'
import { startTask } from './tasks/index.ts'

let session: Session | undefined

async function obey(order: Order): Promise<Answer> {
  if (order.kind === 'start') {
    session = await startTask(order.task, order.settings)
    return {}
  }
  if (order.kind === 'measure') return { figures: await session!.measure(order.round) }
  await session!.close()
  return {}
}

// A worker thread of the child begins in this script, too.
if (isMainThread) {
  process.on('message', async (order: Order) => {
    const answer = await obey(order).catch(error => ({ error: String(error?.stack ?? error) }))
    process.send!(answer)
  })
  // The parent is gone: nobody wants to know any more.
  process.on('disconnect', () => process.exit(1))
}
