/**
 * Holds what is found in a log against what its writers said before they were killed. It stands outside
 * the log: it knows lines, LSNs and stamps, and nothing of files.
 */
import { lifeOf, readStamp, type Stamp } from './payload.ts'

export interface Found {
  readonly lsn: number
  readonly data: Buffer
}

interface Range {
  readonly from: number
  readonly to: number
}

/** What a log says of itself when it has been opened. */
export interface Ends {
  readonly trimLsn: number
  readonly durableLsn: number
}

const EMPTY = -1

export class Judge {
  /** LSN to id of what every opening must find: acknowledged, or found by an opening. */
  readonly #known = new Map<number, number>()
  #trimLsn = 0
  #trimsAsked: number[] = []
  #rewindAsked: number | undefined
  /** LSNs that were rewound: none of them is ever found again. */
  readonly #dead: Range[] = []
  /** Ids that were rewound. */
  readonly #dropped: Range[] = []
  /** Lives whose ids are in the order of their LSNs, so that a missing one shows. */
  readonly #ordered = new Set<number>()
  #lastDrop: Range = { from: 0, to: 0 }

  get knownCount(): number {
    return this.#known.size
  }

  /** Takes the lines of a victim's output; returns what is wrong already, and how much was acknowledged. */
  hear(lines: readonly string[], life: { number: number; isOrdered: boolean }) {
    if (life.isOrdered) this.#ordered.add(life.number)
    const wrong: string[] = []
    let acknowledged = 0
    for (const line of lines) {
      const [what, ...rest] = line.split(' ')
      const [lsn, second, third] = rest.map(Number)
      if (what === '+') {
        acknowledged++
        if (this.#known.has(lsn)) wrong.push(`LSN ${lsn} was given out twice`)
        if (this.#isDead(lsn)) wrong.push(`LSN ${lsn} was acknowledged after it had been rewound`)
        this.#known.set(lsn, second)
      } else if (what === 't') this.#trimsAsked.push(lsn)
      else if (what === 'T') this.#trimmed(lsn)
      else if (what === 'r') {
        this.#rewindAsked = lsn
        this.#lastDrop = { from: second, to: third }
      } else if (what === 'R') {
        this.#rewindAsked = undefined
        this.#rewound(lsn, second)
      } else wrong.push(`no such line: ${line}`)
    }
    return { wrong, acknowledged }
  }

  /** One more record that must be there. */
  mustFind(lsn: number, id: number): void {
    this.#known.set(lsn, id)
  }

  /**
   * @param isSettled an opening has decided before: this one must find the very same
   * @returns what is wrong
   */
  judge(found: readonly Found[], ends: Ends, isSettled: boolean): string[] {
    const wrong = [...this.#judgeTrim(found, ends.trimLsn), ...this.#judgeOrder(found)]
    wrong.push(...this.#judgeUntoldRewind(found, ends.durableLsn))
    const stamps = this.#judgeEach(found, isSettled, wrong)
    const lsns = new Set(found.map(({ lsn }) => lsn))
    for (const lsn of this.#known.keys()) if (!lsns.has(lsn)) wrong.push(`LSN ${lsn} is lost`)
    wrong.push(...this.#judgeGaps(stamps), ...judgeBatches(stamps, ends.trimLsn > 0))
    found.forEach(({ lsn }, i) => {
      this.#known.set(lsn, stamps[i]?.id ?? EMPTY)
    })
    return wrong
  }

  #judgeTrim(found: readonly Found[], trimLsn: number): string[] {
    const wrong: string[] = []
    if (trimLsn !== this.#trimLsn && !this.#trimsAsked.includes(trimLsn)) {
      wrong.push(`trimmed to LSN ${trimLsn}: nobody asked for that`)
    }
    if (trimLsn < this.#trimLsn) wrong.push(`the trim to LSN ${this.#trimLsn} is lost`)
    this.#trimmed(trimLsn)
    this.#trimsAsked = []
    if (found.length > 0 && found[0].lsn < trimLsn) wrong.push(`LSN ${found[0].lsn} was trimmed`)
    return wrong
  }

  /**
   * A rewind that the writer did not live to speak of took place if the record that it named is gone. The
   * log may have gone on by then: what is appended right behind it can be on the disk before the writer
   * says a word.
   */
  #judgeUntoldRewind(found: readonly Found[], durableLsn: number): string[] {
    const rewind = this.#rewindAsked
    this.#rewindAsked = undefined
    if (rewind === undefined || found.some(({ lsn }) => lsn === rewind)) return []
    const behind = found.filter(({ lsn }) => lsn > rewind)
    this.#rewound(rewind, behind[0]?.lsn ?? durableLsn)
    // The writer would have told of the rewind before anything that it appended then was acknowledged.
    return behind
      .filter(({ lsn }) => this.#known.has(lsn))
      .map(({ lsn }) => `LSN ${lsn} is there, and LSN ${rewind} before it is not`)
  }

  #judgeOrder(found: readonly Found[]): string[] {
    return found
      .filter(({ lsn }, i) => i > 0 && lsn <= found[i - 1].lsn)
      .map(({ lsn }) => `LSN ${lsn} comes behind a higher one`)
  }

  /** The stamp of each; undefined for a record without bytes. */
  #judgeEach(found: readonly Found[], isSettled: boolean, wrong: string[]) {
    const ids = new Set<number>()
    return found.map(({ lsn, data }): Stamp | undefined => {
      const stamp = data.length === 0 ? undefined : readStamp(data)
      const id = stamp?.id ?? EMPTY
      const known = this.#known.get(lsn)
      if (data.length > 0 && stamp === undefined) wrong.push(`LSN ${lsn} has other bytes`)
      if (known === undefined && isSettled) wrong.push(`LSN ${lsn} comes late`)
      if (known !== undefined && known !== id) wrong.push(`LSN ${lsn} has id ${id}, not ${known}`)
      if (this.#isDead(lsn)) wrong.push(`LSN ${lsn} was rewound and is back`)
      if (stamp !== undefined && ids.has(id)) wrong.push(`id ${id} is there twice`)
      ids.add(id)
      return stamp
    })
  }

  /** Between two records of a life stands each id that it took, unless it was rewound. */
  #judgeGaps(stamps: readonly (Stamp | undefined)[]): string[] {
    const wrong: string[] = []
    let before: Stamp | undefined
    for (const stamp of stamps) {
      if (stamp === undefined) continue
      const life = lifeOf(stamp.id)
      if (this.#ordered.has(life) && this.#isDropped(stamp.id)) {
        wrong.push(`id ${stamp.id} was rewound and is back`)
      }
      if (before !== undefined && lifeOf(before.id) === life && this.#ordered.has(life)) {
        for (let id = before.id + 1; id < stamp.id; id++) {
          if (!this.#isDropped(id)) wrong.push(`id ${id} is missing before id ${stamp.id}`)
        }
        if (stamp.id < before.id) wrong.push(`id ${stamp.id} comes behind id ${before.id}`)
      }
      before = stamp
    }
    return wrong
  }

  #trimmed(lsn: number): void {
    this.#trimLsn = Math.max(this.#trimLsn, lsn)
    for (const each of [...this.#known.keys()]) if (each < lsn) this.#known.delete(each)
  }

  /** The rewind that was asked for took place, and the log went on at `end`. */
  #rewound(from: number, end: number): void {
    this.#dead.push({ from, to: end })
    this.#dropped.push(this.#lastDrop)
    for (const lsn of [...this.#known.keys()]) if (lsn >= from && lsn < end) this.#known.delete(lsn)
  }

  #isDead(lsn: number): boolean {
    return this.#dead.some(({ from, to }) => lsn >= from && lsn < to)
  }

  #isDropped(id: number): boolean {
    return this.#dropped.some(({ from, to }) => id >= from && id < to)
  }
}

/** Each batch stands there from its first record to its last; a trim may have cut the very first one. */
function judgeBatches(stamps: readonly (Stamp | undefined)[], isTrimmed: boolean): string[] {
  const wrong: string[] = []
  const whole = stamps.filter(stamp => stamp !== undefined)
  whole.forEach(({ id, batchFirst, batchCount }, i) => {
    const isFirst = id === batchFirst
    const isLast = id === batchFirst + batchCount - 1
    const cutByTrim = isTrimmed && i === 0
    if (!isFirst && !cutByTrim && whole[i - 1]?.id !== id - 1) {
      wrong.push(
        `of the batch of ${batchCount} from id ${batchFirst} the one before ${id} is missing`,
      )
    }
    if (!isLast && whole[i + 1]?.id !== id + 1) {
      wrong.push(
        `of the batch of ${batchCount} from id ${batchFirst} the one behind ${id} is missing`,
      )
    }
  })
  return wrong
}
