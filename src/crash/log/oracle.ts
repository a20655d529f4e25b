/**
 * What was appended and what was acknowledged, kept outside the log: the judge of a recovery. It is made
 * of what the workload noted, and knows nothing of files.
 */

interface Appended {
  readonly lsn: number
  readonly data: Uint8Array
  acknowledged: boolean
  /** The first LSN of the batch that it was appended with. */
  readonly batch: number
}

export type LogEvent =
  | {
      readonly kind: 'appended'
      readonly lsn: number
      readonly data: Uint8Array
      readonly batch: number
    }
  /** All before this LSN is. */
  | { readonly kind: 'durable'; readonly end: number }
  | { readonly kind: 'trim asked' | 'trimmed' | 'rewind asked' | 'rewound'; readonly lsn: number }
  /** From now on records are compressed and encrypted. */
  | { readonly kind: 'packed' }
  /** Nothing was dropped. */
  | { readonly kind: 'rewind refused' }
  /** An opening has shown these, and no others. */
  | { readonly kind: 'found'; readonly lsns: readonly number[] }

export interface FoundRecord {
  readonly lsn: number
  readonly data: Uint8Array
}

export class Oracle {
  /** In the order of their LSNs. */
  #records: Appended[] = []
  /** All that were ever appended. */
  readonly #ever = new Map<number, Appended>()
  #trimsAsked: number[] = []
  #trimmedTo = 0
  #rewindAsked: number | undefined
  #isPacked = false
  readonly #wrong: string[] = []

  constructor(history: readonly unknown[]) {
    for (const event of history) this.#take(event as LogEvent)
  }

  acknowledgedLsns(): number[] {
    return this.#records.filter(record => record.acknowledged).map(({ lsn }) => lsn)
  }

  /** Acknowledged records that begin a batch or stand alone. */
  firstLsns(): number[] {
    return this.#records.filter(r => r.acknowledged && r.batch === r.lsn).map(({ lsn }) => lsn)
  }

  /** Whether who reads needs the key. */
  get isPacked(): boolean {
    return this.#isPacked
  }

  #take(event: LogEvent): void {
    switch (event.kind) {
      case 'appended': {
        const { lsn, data, batch } = event
        if (this.#ever.has(lsn)) this.#wrong.push(`LSN ${lsn} was given out twice`)
        const record = { lsn, data, batch, acknowledged: false }
        this.#ever.set(lsn, record)
        this.#records.push(record)
        return
      }
      case 'durable':
        for (const record of this.#records) if (record.lsn < event.end) record.acknowledged = true
        return
      case 'packed':
        this.#isPacked = true
        return
      case 'trim asked':
        this.#trimsAsked.push(event.lsn)
        return
      case 'trimmed':
        this.#trimmedTo = Math.max(this.#trimmedTo, event.lsn)
        return
      case 'rewind asked':
        this.#rewindAsked = event.lsn
        return
      case 'rewound':
        this.#drop(event.lsn)
        return
      case 'rewind refused':
        this.#rewindAsked = undefined
        return
      case 'found':
        this.#settle(event.lsns)
    }
  }

  #drop(lsn: number): void {
    this.#rewindAsked = undefined
    this.#records = this.#records.filter(record => record.lsn < lsn)
  }

  /**
   * Holds what an opening shows against what happened.
   * @param provenEnd what a damaged disk proves: acknowledged records behind it may be missing without a
   *   word. Of another disk nothing may be missing
   * @returns what is wrong
   */
  judge(found: readonly FoundRecord[], provenEnd = Number.POSITIVE_INFINITY): string[] {
    const wrong = this.#wrong.slice()
    const { records, rewind } = this.#expected(found.map(({ lsn }) => lsn))
    for (const [at, { lsn, data }] of found.entries()) {
      const want: Appended | undefined = records[at]
      if (want === undefined) wrong.push(`LSN ${lsn} was never appended, or was dropped`)
      else if (want.lsn !== lsn) wrong.push(`found LSN ${lsn} where LSN ${want.lsn} was expected`)
      else if (Buffer.compare(want.data, data) !== 0) wrong.push(`LSN ${lsn} has other bytes`)
      if (wrong.length > 3) return wrong
    }
    const next: Appended | undefined = records[found.length]
    if (next !== undefined && records[found.length - 1]?.batch === next.batch) {
      wrong.push(`of the batch at LSN ${next.batch} only a part was found`)
    }
    for (const lost of records.slice(found.length)) {
      if (
        !lost.acknowledged ||
        lost.lsn >= provenEnd ||
        (rewind !== undefined && lost.lsn >= rewind)
      )
        continue
      wrong.push(`LSN ${lost.lsn} was acknowledged and is lost`)
      return wrong
    }
    return wrong
  }

  /** What an opening may show: the records behind the trim that has happened, as far as is known. */
  #expected(found: readonly number[]): { records: Appended[]; rewind: number | undefined } {
    const trim = this.#trimOf(found[0])
    const records = this.#records.filter(({ lsn }) => lsn >= trim)
    const rewind = this.#rewindAsked
    // Nobody was told of the rewind: either it has happened, or nothing of it.
    const happened =
      rewind !== undefined && found.length === records.filter(({ lsn }) => lsn < rewind).length
    return { records, rewind: happened ? rewind : undefined }
  }

  /** A trim that nobody was told of has happened or not: what is found first tells. */
  #trimOf(first: number | undefined): number {
    const startsAt = (trim: number) => this.#records.find(({ lsn }) => lsn >= trim)?.lsn
    const possible = [this.#trimmedTo, ...this.#trimsAsked.filter(lsn => lsn > this.#trimmedTo)]
    return possible.find(trim => startsAt(trim) === first) ?? this.#trimmedTo
  }

  /** From now on this is what there is. */
  #settle(found: readonly number[]): void {
    this.#trimmedTo = this.#trimOf(found[0])
    this.#trimsAsked = []
    this.#rewindAsked = undefined
    this.#records = found.flatMap(lsn => this.#ever.get(lsn) ?? [])
    for (const record of this.#records) record.acknowledged = true
  }
}
