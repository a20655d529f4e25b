/** What a campaign has come to: counts by file system, engine and kind, and every failure at once. */
import type { Life } from './killed-log.ts'

export interface Where {
  readonly fileSystem: string
  readonly engine: string
  readonly kind: string
  readonly seed: number
  readonly life: number
}

export interface Trouble {
  readonly wrong: readonly string[]
  readonly acknowledged: number
}

interface Row {
  lives: number
  acknowledged: number
  found: number
  readonly verdicts: Record<string, number>
}

const PROGRESS_LIVES = 250

export class Tally {
  readonly #isJson: boolean
  readonly #rows = new Map<string, Row>()
  readonly #skipped: { what: string; reason: string }[] = []
  readonly #failures: object[] = []
  readonly #started = performance.now()
  #lives = 0

  constructor(isJson: boolean) {
    this.#isJson = isJson
  }

  /** Not among what a program reads. */
  say(line: string): void {
    if (!this.#isJson) console.log(line)
  }

  skip(what: string, reason: string): void {
    this.#skipped.push({ what, reason })
    this.say(`skipped: ${what}: ${reason}`)
  }

  add(where: Where, { wrong, acknowledged, found, verdict }: Life): void {
    const row = this.#row(`${where.fileSystem}, ${where.engine}, ${where.kind}`)
    row.lives++
    row.acknowledged += acknowledged
    row.found += found
    row.verdicts[verdict] = (row.verdicts[verdict] ?? 0) + 1
    if (wrong.length > 0) this.#fail({ ...where, wrong })
    if (++this.#lives % PROGRESS_LIVES === 0) {
      const minutes = (performance.now() - this.#started) / 60_000
      this.say(`${this.#lives} lives, ${(this.#lives / minutes).toFixed(0)} a minute`)
    }
  }

  addTrouble(what: string, engine: string, { wrong, acknowledged }: Trouble): void {
    const row = this.#row(`${what}, ${engine}`)
    row.lives++
    row.acknowledged += acknowledged
    if (wrong.length > 0) this.#fail({ what, engine, wrong })
  }

  /** Prints it all; true when nothing was wrong. */
  report(minutes: number): boolean {
    const rows = [...this.#rows].map(([what, row]) => ({ what, ...row }))
    const sum = (kind: string) =>
      rows.filter(({ what }) => what.endsWith(kind)).reduce((all, { lives }) => all + lives, 0)
    const acknowledged = rows.reduce((all, row) => all + row.acknowledged, 0)
    const livesAMinute = Math.round(this.#lives / minutes)
    const result = { lives: this.#lives, sigkills: sum(', SIGKILL'), livesAMinute, acknowledged }
    const failures = this.#failures
    if (this.#isJson)
      console.log(JSON.stringify({ ...result, rows, skipped: this.#skipped, failures }))
    for (const { what, lives, acknowledged, found, verdicts } of rows) {
      const told = Object.entries(verdicts).map(([verdict, count]) => `${verdict} ${count}`)
      const counts = `${lives} lives, ${acknowledged} acknowledged, ${found} found`
      this.say(`${what}: ${counts}${told.length > 0 ? ` (${told.join(', ')})` : ''}`)
    }
    this.say(
      `${result.lives} lives, ${result.sigkills} of them ended by SIGKILL, ${livesAMinute} a minute; ` +
        `${acknowledged} records acknowledged; ${failures.length} failures`,
    )
    return failures.length === 0 && acknowledged > 0
  }

  #row(what: string): Row {
    const row = this.#rows.get(what) ?? { lives: 0, acknowledged: 0, found: 0, verdicts: {} }
    this.#rows.set(what, row)
    return row
  }

  #fail(failure: object): void {
    this.#failures.push(failure)
    console.error(`WRONG ${JSON.stringify(failure)}`)
  }
}
