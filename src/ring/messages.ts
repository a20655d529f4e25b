import { RiologError } from '../errors.ts'
import type { RequestQueue } from './request-queue.ts'

/** What one ring sends to another. */
export interface RingMessage {
  /** 0 to 2^31-1 */
  readonly value: number
  /** 0 to 2^32-1 */
  readonly data: number
}

type Result = IteratorResult<RingMessage, undefined>

/** Messages that came and nobody has read; whoever waits for one keeps the event loop alive. */
export class MessageInbox {
  readonly #queue: RequestQueue
  readonly #unread: RingMessage[] = []
  readonly #readers = new Set<(result: Result) => void>()
  #ended = false

  constructor(queue: RequestQueue) {
    this.#queue = queue
    queue.onMessage = (value, data) => this.#receive({ value, data: data >>> 0 })
  }

  async *read(signal: AbortSignal | undefined): AsyncIterableIterator<RingMessage> {
    for (;;) {
      const { value, done } = await this.#next(signal)
      if (done === true || value === undefined) return
      yield value
    }
  }

  /** The ring closes. */
  end(): void {
    this.#ended = true
    for (const reader of this.#readers) reader({ value: undefined, done: true })
    this.#setReaders(() => this.#readers.clear())
  }

  #next(signal: AbortSignal | undefined): Promise<Result> {
    if (signal?.aborted === true) return Promise.reject(aborted(signal))
    const value = this.#unread.shift()
    if (value !== undefined) return Promise.resolve({ value, done: false })
    if (this.#ended) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#setReaders(() => this.#readers.delete(reader))
        reject(aborted(signal as AbortSignal))
      }
      const reader = (result: Result) => {
        signal?.removeEventListener('abort', onAbort)
        resolve(result)
      }
      this.#setReaders(() => this.#readers.add(reader))
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  #receive(message: RingMessage): void {
    const [reader] = this.#readers
    if (reader === undefined) {
      this.#unread.push(message)
      return
    }
    this.#setReaders(() => this.#readers.delete(reader))
    reader({ value: message, done: false })
  }

  #setReaders(change: () => void): void {
    change()
    this.#queue.binding.holdOpen(this.#readers.size > 0)
  }
}

function aborted(signal: AbortSignal): RiologError {
  return new RiologError('ERR_RIOLOG_CANCELED', 'waiting for a message was canceled', {
    cause: signal.reason,
  })
}
