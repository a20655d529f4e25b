/** Ends the process when one seed takes too long, also in a loop that never gives its turn back. */
import { Worker } from 'node:worker_threads'

const SOURCE = `
const { workerData: { shared, limitMs }, parentPort } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const state = new Int32Array(shared)
let seen = -1
let since = Date.now()
setInterval(() => {
  const turn = Atomics.load(state, 0)
  if (turn !== seen) {
    seen = turn
    since = Date.now()
  } else if (Date.now() - since > limitMs) {
    writeSync(2, 'WRONG: seed ' + Atomics.load(state, 1) + ' hangs\\n')
    process.kill(process.pid, 'SIGKILL')
  }
}, 100)
`

export class Watchdog {
  readonly #state = new Int32Array(new SharedArrayBuffer(8))
  readonly #worker: Worker

  constructor(limitMs: number) {
    const workerData = { shared: this.#state.buffer, limitMs }
    this.#worker = new Worker(SOURCE, { eval: true, workerData })
    this.#worker.unref()
  }

  /** From now on this seed has its time. */
  begin(seed: number): void {
    Atomics.store(this.#state, 1, seed)
    Atomics.add(this.#state, 0, 1)
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }
}
