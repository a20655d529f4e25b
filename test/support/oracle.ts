/**
 * What was appended and what was acknowledged, kept outside the log: the judge of a recovery.
 */
import { createHash } from 'node:crypto'

const ID_BYTES = 8

/** A payload of `bytes` that tells which append it was; short ones carry as much of it as fits. */
export function payloadOf(id: number, bytes: number): Buffer {
  const payload = Buffer.alloc(bytes)
  const seed = createHash('sha256').update(String(id)).digest()
  for (let at = 0; at < bytes; at += seed.length) seed.copy(payload, at)
  if (bytes >= ID_BYTES) payload.writeDoubleLE(id)
  return payload
}

interface Appended {
  readonly lsn: number
  readonly data: Buffer
  acknowledged: boolean
  /** The first LSN of the batch that it was appended with. */
  readonly batch: number
}

export class Oracle {
  readonly #appended = new Map<number, Appended>()
  #trimsAsked: number[] = []
  #rewindAsked: number | undefined
  #trimmedTo = 0

  /** One that can judge a possible course of things, while this one judges another. */
  copy(): Oracle {
    const other = new Oracle()
    for (const [lsn, record] of this.#appended) other.#appended.set(lsn, { ...record })
    other.#trimsAsked = [...this.#trimsAsked]
    other.#rewindAsked = this.#rewindAsked
    other.#trimmedTo = this.#trimmedTo
    return other
  }

  appended(lsn: number, data: Buffer, batch = lsn): void {
    if (this.#appended.has(lsn)) throw new Error(`LSN ${lsn} was handed out twice`)
    this.#appended.set(lsn, { lsn, data, acknowledged: false, batch })
  }

  /** Records before this LSN may be gone from now on. */
  trimAsked(lsn: number): void {
    this.#trimsAsked.push(lsn)
  }

  /** And now they must be. */
  trimmed(lsn: number): void {
    this.#trimmedTo = Math.max(this.#trimmedTo, lsn)
  }

  /** This record and all behind it may be gone from now on. */
  rewindAsked(lsn: number): void {
    this.#rewindAsked = lsn
  }

  /** And now they must be; undefined: it was refused. */
  rewound(lsn: number | undefined): void {
    this.#rewindAsked = undefined
    if (lsn === undefined) return
    for (const each of [...this.#appended.keys()]) if (each >= lsn) this.#appended.delete(each)
  }

  /** Acknowledged records that begin a batch or stand alone. */
  firstLsns(): number[] {
    return [...this.#appended.values()]
      .filter(r => r.acknowledged && r.batch === r.lsn)
      .map(r => r.lsn)
  }

  acknowledgedLsns(): number[] {
    return [...this.#appended.values()].filter(r => r.acknowledged).map(r => r.lsn)
  }

  acknowledged(lsn: number): void {
    const record = this.#appended.get(lsn)
    if (record === undefined) throw new Error(`LSN ${lsn} was acknowledged and never appended`)
    record.acknowledged = true
  }

  pendingLsns(): number[] {
    return [...this.#appended.values()].filter(r => !r.acknowledged).map(r => r.lsn)
  }

  get acknowledgedCount(): number {
    return [...this.#appended.values()].filter(record => record.acknowledged).length
  }

  /**
   * Holds what a reopened log shows against what happened; returns what is wrong. Afterwards the
   * records found are what every later opening must find.
   */
  judge(found: readonly { lsn: number; data: Buffer }[]): string[] {
    const wrong: string[] = []
    this.#forgetTrimmed(found[0]?.lsn)
    const rewind = this.#rewindAsked
    const below = [...this.#appended.keys()].filter(lsn => rewind === undefined || lsn < rewind)
    this.rewound(found.length === below.length ? rewind : undefined)
    const expected = [...this.#appended.values()].sort((a, b) => a.lsn - b.lsn)
    const next = expected[found.length]
    if (next !== undefined && expected[found.length - 1]?.batch === next.batch) {
      wrong.push(`of the batch at LSN ${next.batch} only a part was found`)
    }
    found.forEach((record, index) => {
      const want = expected[index]
      if (want === undefined) wrong.push(`LSN ${record.lsn} was never appended`)
      else if (want.lsn !== record.lsn) wrong.push(`found LSN ${record.lsn} before ${want.lsn}`)
      else if (!want.data.equals(record.data)) wrong.push(`LSN ${record.lsn} has other bytes`)
    })
    for (const lost of expected.slice(found.length)) {
      if (lost.acknowledged) wrong.push(`LSN ${lost.lsn} was acknowledged and is lost`)
      this.#appended.delete(lost.lsn)
    }
    for (const kept of this.#appended.values()) kept.acknowledged = true
    return wrong
  }

  /** A trim that nobody was told of has happened or not: what is found first tells. */
  #forgetTrimmed(first: number | undefined): void {
    const lsns = [...this.#appended.keys()].sort((a, b) => a - b)
    const startsAt = (trim: number) => lsns.find(lsn => lsn >= trim)
    const possible = [this.#trimmedTo, ...this.#trimsAsked.filter(lsn => lsn > this.#trimmedTo)]
    const isKept = (trim: number) =>
      [...this.#appended.values()].some(({ lsn, acknowledged }) => acknowledged && lsn >= trim)
    // Nothing is found: all before a trim is gone by it, and what was behind was on its way.
    const fits = (trim: number) =>
      startsAt(trim) === first || (first === undefined && trim > 0 && !isKept(trim))
    const happened = possible.find(fits)
    this.#trimmedTo = happened ?? this.#trimmedTo
    this.#trimsAsked = []
    for (const lsn of lsns) if (lsn < this.#trimmedTo) this.#appended.delete(lsn)
  }
}
