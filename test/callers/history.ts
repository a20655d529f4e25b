/** What callers of a log were told, life by life, and what the next opening may therefore find. */

export interface Entry {
  readonly id: number
  /** Of the record. */
  readonly bytes: number
  readonly life: number
  lsn: number | undefined
  /** It was told to be durable. */
  isDurable: boolean
  /** A rewind has dropped it, or an opening has not found it: it never comes back. */
  isGone: boolean
  /** It was refused, and must never be found. */
  isRefused: boolean
  /** All of the batch that it was appended with. */
  batch: readonly Entry[] | undefined
  /** Calls of its `whenDurable`; undefined where there is none. */
  calls: number | undefined
}

export interface Rewinding {
  readonly target: number
  state: 'under way' | 'in force' | 'refused' | 'undecided'
}

export interface FoundRecord {
  readonly lsn: number
  readonly data: Buffer
}

/** The id stands in front, its lowest byte behind it, over and over. */
const ID_BYTES = 4

export function recordOf({ id, bytes }: Entry): Buffer {
  const data = Buffer.alloc(bytes, id & 255)
  data.writeUInt32LE(id, 0)
  return data
}

export class History {
  readonly violations: string[] = []
  /** The number of this life. */
  life = 0
  /** What lies in front of it may be gone. */
  trimmedTo = 0
  /** Of this life. */
  rewinds: Rewinding[] = []
  readonly #entries = new Map<number, Entry>()
  /** Rewinds that a crash has left undecided. */
  #undecided: Rewinding[] = []
  /** What rewinds have dropped: from the first LSN up to the second. */
  readonly #forks: { readonly target: number; readonly behind: number }[] = []
  #nextId = 1
  /** When an opening has seen to it, what it found is there for good, and what it did not find never comes back. */
  #adopt: (() => void) | undefined

  bad(what: string): void {
    this.violations.push(what)
  }

  add(bytes: number): Entry {
    const entry: Entry = {
      id: this.#nextId++,
      bytes: Math.max(ID_BYTES, bytes),
      life: this.life,
      lsn: undefined,
      isDurable: false,
      isGone: false,
      isRefused: false,
      batch: undefined,
      calls: undefined,
    }
    this.#entries.set(entry.id, entry)
    return entry
  }

  place(entry: Entry, lsn: number): void {
    entry.lsn = lsn
    for (const other of this.#entries.values()) {
      if (other === entry || other.lsn !== lsn) continue
      this.bad(`LSN ${lsn} was given to ${other.id} and to ${entry.id}`)
    }
  }

  /** As {@link place}, where it is told to be durable, perhaps behind a rewind that has dropped it since. */
  placeDurable(entry: Entry, lsn: number): void {
    this.place(entry, lsn)
    entry.isDurable = true
    if (this.#forks.some(({ target, behind }) => lsn >= target && lsn < behind)) entry.isGone = true
  }

  durableBelow(durableLsn: number): void {
    for (const entry of this.#entries.values()) {
      const { life, lsn } = entry
      if (life === this.life && lsn !== undefined && lsn < durableLsn) entry.isDurable = true
    }
  }

  /** Of this life, those that may be read. */
  taken(): Entry[] {
    return this.living().filter(({ life }) => life === this.life)
  }

  /** All that have an LSN, the newest last. */
  living(): Entry[] {
    return [...this.#entries.values()].filter(({ lsn, isGone }) => lsn !== undefined && !isGone)
  }

  at(lsn: number): Entry | undefined {
    return this.living().find(entry => entry.lsn === lsn)
  }

  /** @param behind where the next segment begins; undefined: the target was the end, and nothing is dropped */
  rewound(rewinding: Rewinding, behind: number | undefined): void {
    rewinding.state = 'in force'
    const { target } = rewinding
    if (behind === undefined || this.at(target) === undefined) return
    this.#forks.push({ target, behind })
    for (const entry of this.#entries.values()) {
      const { lsn } = entry
      if (lsn !== undefined && lsn >= target && lsn < behind) entry.isGone = true
    }
  }

  /** The log is poisoned, or the process gone: rewinds that were under way may be in force or not. */
  leaveRewindsUndecided(): void {
    for (const rewinding of this.rewinds)
      if (rewinding.state === 'under way') rewinding.state = 'undecided'
  }

  endLife(): void {
    this.leaveRewindsUndecided()
    this.#undecided.push(...this.rewinds.filter(({ state }) => state === 'undecided'))
    this.rewinds = []
    for (const entry of this.#entries.values()) {
      if (entry.life !== this.life || entry.calls === undefined) continue
      if (entry.calls > 1) this.bad(`whenDurable of ${entry.id} was called ${entry.calls} times`)
    }
  }

  /** The log was closed and nothing is under way: whoever was taken was told. */
  judgeCalls(): void {
    for (const { life, calls, isRefused, id, lsn } of this.#entries.values()) {
      if (life !== this.life || calls === undefined) continue
      const expected = isRefused ? 0 : 1
      if (calls !== expected)
        this.bad(`whenDurable of ${id} at ${lsn} was called ${calls} times, not ${expected}`)
    }
  }

  isIntact(entry: Entry | undefined, data: Buffer): boolean {
    return entry !== undefined && data.equals(recordOf(entry))
  }

  /** Of a record that may be any: it is one that somebody appended. */
  isOurs(data: Buffer): boolean {
    const isLong = data.length >= ID_BYTES
    return this.isIntact(isLong ? this.#entries.get(data.readUInt32LE(0)) : undefined, data)
  }

  /** What an opening behind this life finds. */
  judge(found: readonly FoundRecord[]): void {
    const there = this.#judgeEach(found)
    const isThere = ({ id }: Entry) => there.has(id)
    const isOpen = ({ lsn }: Entry) => this.#undecided.some(({ target }) => lsn! >= target)
    const expected = this.living().filter(
      entry => entry.lsn! >= this.trimmedTo && !isOpen(entry) && !entry.isRefused,
    )
    for (const entry of expected) {
      if (!entry.isDurable || isThere(entry)) continue
      this.bad(`LOST: ${entry.id} at ${entry.lsn}, told durable (trimmed to ${this.trimmedTo})`)
    }
    this.#judgeHoles(expected, isThere)
    for (const { batch } of expected) {
      if (batch?.some(each => !expected.includes(each)) ?? true) continue
      const count = batch!.filter(isThere).length
      if (count > 0 && count < batch!.length)
        this.bad(`${count} of the batch of ${batch!.length} that begins with ${batch![0].id}`)
    }
    const { trimmedTo } = this
    const entries = [...this.#entries.values()]
    this.#adopt = () => {
      this.#undecided = []
      for (const entry of entries) {
        const lsn = there.get(entry.id)
        if (lsn !== undefined) Object.assign(entry, { lsn, isDurable: true })
        else if (entry.lsn === undefined || entry.lsn >= trimmedTo) entry.isGone = true
      }
    }
  }

  /** An opening behind the last verdict has come to its end. */
  opened(): void {
    this.#adopt?.()
    this.#adopt = undefined
  }

  #judgeEach(found: readonly FoundRecord[]): ReadonlyMap<number, number> {
    const there = new Map<number, number>()
    let last = -1
    for (const { lsn, data } of found) {
      if (lsn <= last) this.bad(`LSN ${lsn} behind ${last}`)
      last = lsn
      const id = data.length >= ID_BYTES ? data.readUInt32LE(0) : 0
      const entry = this.#entries.get(id)
      if (!this.isIntact(entry, data)) this.bad(`what stands at ${lsn} was never appended`)
      else if (entry!.isRefused) this.bad(`${id} at ${lsn} was refused`)
      else if (entry!.isGone) this.bad(`${id} at ${lsn} was gone`)
      else if ((entry!.lsn ?? lsn) !== lsn) this.bad(`${id} at ${lsn}, not at ${entry!.lsn}`)
      if (there.has(id)) this.bad(`${id} is there twice`)
      there.set(id, lsn)
    }
    return there
  }

  /** Behind one that is missing, there is none of the same life. */
  #judgeHoles(expected: readonly Entry[], isThere: (entry: Entry) => boolean): void {
    const missing = new Map<number, Entry>()
    for (const entry of [...expected].sort((a, b) => a.lsn! - b.lsn!)) {
      const hole = missing.get(entry.life)
      if (!isThere(entry)) missing.set(entry.life, hole ?? entry)
      else if (hole !== undefined)
        this.bad(`a hole: ${hole.id} at ${hole.lsn} is missing, ${entry.id} at ${entry.lsn} is not`)
    }
  }
}
