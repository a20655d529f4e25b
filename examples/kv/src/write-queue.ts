/**
 * Writes on their way into the log, in two rows:
 *
 * ```
 *   submit ──► waiting ──append──► appended ──visible──► resolved
 *               (no room)           (not yet durable)
 * ```
 *
 * One becomes visible when all before it are and, if it asked for a sync, it is durable. So what is seen is
 * always what some prefix of the log says, and nothing that a sync was asked for is seen before a power cut
 * could no longer take it back. One without a sync behind one with waits for that one.
 */
import { hasCode } from './errors.ts'
import type { Log } from './riolog.ts'

interface Write {
  readonly record: Buffer
  readonly sync: boolean
  lsn: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class WriteQueue {
  readonly #log: Log
  readonly #onVisible: (lsn: number, record: Buffer) => void
  readonly #waiting: Write[] = []
  readonly #appended: Write[] = []
  #isAppending = false
  #isDraining = false
  #isFlushing = false
  /** Why what is durable could not be shown: what is in memory is not what the log says any more. */
  #failure: unknown

  /** @param onVisible called with each record in the order of the LSNs, before its write resolves */
  constructor(log: Log, onVisible: (lsn: number, record: Buffer) => void) {
    this.#log = log
    this.#onVisible = onVisible
    // A commit makes many records durable at once: those who share it are told together.
    log.onDurable(() => this.#show())
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#appended.length === 0
  }

  /** @throws what kept it from showing what is durable: memory is not to be written down then */
  refuseIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Resolves when the record is visible; rejects with the log's error, and then it never is. */
  submit(record: Buffer, sync: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure)
      this.#waiting.push({ record, sync, lsn: 0, resolve, reject })
      this.#append()
    })
  }

  #append(): void {
    // From within `append`: who appends goes on with these.
    if (this.#isAppending) return
    this.#isAppending = true
    // Nobody overtakes those who wait for room.
    while (!this.#isDraining && this.#waiting.length > 0) {
      const write = this.#waiting[0]
      try {
        write.lsn = this.#log.append(write.record)
      } catch (error) {
        if (hasCode(error, 'ERR_RIOLOG_BACKPRESSURE')) {
          void this.#drain()
          break
        }
        write.reject(error)
        this.#waiting.shift()
        continue
      }
      this.#appended.push(write)
      this.#waiting.shift()
    }
    this.#isAppending = false
    this.#show()
    this.#flush()
  }

  async #drain(): Promise<void> {
    this.#isDraining = true
    this.#flush()
    try {
      await this.#log.drain()
    } catch (error) {
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    }
    this.#isDraining = false
    this.#append()
  }

  #show(): void {
    const { durableLsn } = this.#log
    let count = 0
    for (const { lsn, record, sync, resolve } of this.#appended) {
      if (sync && lsn >= durableLsn) break
      try {
        this.#onVisible(lsn, record)
      } catch (error) {
        this.#fail(error)
        return
      }
      resolve()
      count++
    }
    if (count > 0) this.#appended.splice(0, count)
  }

  /** Memory ran out, say: the next opening finds it all. */
  #fail(error: unknown): void {
    this.#failure = error
    for (const { reject } of [...this.#appended.splice(0), ...this.#waiting.splice(0)])
      reject(error)
  }

  #flush(): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    void this.#flushAll()
  }

  /** The commits run by themselves; a flush tells when one has failed, and all behind it with it. */
  async #flushAll(): Promise<void> {
    try {
      while (this.#appended.length > 0) await this.#log.flush()
    } catch (error) {
      // A close makes durable what was appended, and tells of it: only what is left then has come to nothing.
      if (hasCode(error, 'ERR_RIOLOG_CLOSED')) await this.#log.close().catch(() => {})
      const reason = this.#log.poison ?? error
      for (const { reject } of this.#appended.splice(0)) reject(reason)
    }
    this.#isFlushing = false
  }
}
