/** Places that trims must not pass yet: of a reader, a replica, a snapshot. They live in memory only. */

/** The options of `log.pin`. */
export interface PinOptions {
  /**
   * The most bytes of log that it may hold back, counted to the durable LSN: beyond that it is dropped,
   * with the warning `RIOLOG_PIN_DROPPED`. No limit without.
   */
  readonly maxBytes?: number
}

/** Holds trims back: `log.pin`. It lives in memory only, and `using` releases it. */
export interface Pin extends Disposable {
  /** Given to `log.pin`. */
  readonly name: string
  /** Records from here on are kept. */
  readonly lsn: number
  /** True once it holds nothing back any more: released, or dropped for its length. */
  readonly released: boolean
  /** Moves it forward, as its reader goes on; never back. */
  moveTo(lsn: number): void
  /** Lets trims pass; a second time does nothing. */
  release(): void
}

class HeldPin implements Pin {
  readonly name: string
  readonly maxBytes: number
  lsn: number
  readonly #all: Set<HeldPin>

  constructor(name: string, lsn: number, maxBytes: number, all: Set<HeldPin>) {
    this.name = name
    this.lsn = lsn
    this.maxBytes = maxBytes
    this.#all = all
    all.add(this)
  }

  get released(): boolean {
    return !this.#all.has(this)
  }

  moveTo(lsn: number): void {
    if (Number.isSafeInteger(lsn)) this.lsn = Math.max(this.lsn, lsn)
  }

  release(): void {
    this.#all.delete(this)
  }

  [Symbol.dispose](): void {
    this.release()
  }
}

export class Pins {
  readonly #pins = new Set<HeldPin>()

  add(name: string, lsn: number, maxBytes: number): Pin {
    return new HeldPin(name, lsn, maxBytes, this.#pins)
  }

  /** As far as a trim may go; pins that hold back too much by now are dropped, and told. */
  limit(lsn: number, durableLsn: number): number {
    let least = lsn
    for (const pin of this.#pins) {
      const bytes = durableLsn - pin.lsn
      if (pin.lsn < lsn && bytes > pin.maxBytes) {
        pin.release()
        process.emitWarning(
          `the pin '${pin.name}' held back ${bytes} bytes of log, more than its ${pin.maxBytes}, ` +
            `and was dropped at LSN ${pin.lsn}`,
          { type: 'RiologWarning', code: 'RIOLOG_PIN_DROPPED' },
        )
      } else {
        least = Math.min(least, pin.lsn)
      }
    }
    return least
  }
}
