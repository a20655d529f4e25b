/** How far a command has come: on standard error, and only where a person can see it. */
import { SingleBar } from 'cli-progress'
import prettyBytes from 'pretty-bytes'

const REDRAW_MS = 100

/** Counting costs two additions a record; drawing looks at the counts ten times a second. */
export class Tally {
  records = 0
  bytes = 0
  /** The LSN last met, for a command that knows where it will end. */
  lsn = 0

  add(bytes: number): void {
    this.records++
    this.bytes += bytes
  }
}

/** What a bar needs: how much work lies before an LSN, and where the work ends. */
export interface Course {
  readonly end: number
  before(lsn: number): number
}

type Terminal = NodeJS.WritableStream & { readonly isTTY?: boolean }

/** Draws the tally until the function that it returns is called; a bar when there is a course. */
export function showProgress(
  tally: Tally,
  course?: Course,
  stream: Terminal = process.stderr,
): () => void {
  if (!stream.isTTY) return () => {}
  const counts = '{records} records, {size}, {rate}/s'
  const bar = new SingleBar({
    stream,
    format: course === undefined ? counts : `[{bar}] {percentage}% | ${counts}`,
    clearOnComplete: true,
    // Signals are the command's: it has records to flush before it goes.
    gracefulExit: false,
  })
  const startedAt = performance.now()
  const payload = () => {
    const seconds = Math.max((performance.now() - startedAt) / 1000, 0.001)
    const rate = prettyBytes(tally.bytes / seconds, { binary: true })
    return { records: tally.records, size: prettyBytes(tally.bytes, { binary: true }), rate }
  }
  bar.start(course?.before(course.end) ?? 0, 0, payload())
  const draw = () => bar.update(course?.before(tally.lsn) ?? 0, payload())
  const timer = setInterval(draw, REDRAW_MS).unref()
  return () => {
    clearInterval(timer)
    bar.stop()
  }
}

/** A bar for something that is counted up to `total`; returns what to call with each one, and at the end. */
export function showCount(
  what: string,
  total: number,
  stream: Terminal = process.stderr,
): { add(): void; stop(): void } {
  if (!stream.isTTY) return { add: () => {}, stop: () => {} }
  const format = `[{bar}] {percentage}% | {value}/{total} ${what}, {rate}/s`
  const bar = new SingleBar({ stream, format, clearOnComplete: true, gracefulExit: false })
  const startedAt = performance.now()
  let count = 0
  let drawnAt = startedAt
  bar.start(total, 0, { rate: 0 })
  return {
    add: () => {
      count++
      const now = performance.now()
      if (now - drawnAt < REDRAW_MS) return
      drawnAt = now
      bar.update(Math.min(count, total), { rate: Math.round(count / ((now - startedAt) / 1000)) })
    },
    stop: () => bar.stop(),
  }
}
