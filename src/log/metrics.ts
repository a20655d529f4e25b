/** What the commit pipeline does, measured group by group: a few clock readings for each sync. */
import { channel } from 'node:diagnostics_channel'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Of durations in microseconds, of sizes in bytes or records; to three digits. */
export interface Distribution {
  /** How many were measured; 0: all else is 0, too. */
  readonly count: number
  /** The smallest. */
  readonly min: number
  /** The mean. */
  readonly mean: number
  /** The median. */
  readonly p50: number
  /** 99 % are at most this. */
  readonly p99: number
  /** 99.9 % are at most this. */
  readonly p999: number
  /** The largest. */
  readonly max: number
}

/** What an opening has committed: `log.metrics()`. */
export interface LogMetrics {
  /** Groups that became durable; as all of these, since the log was opened. */
  readonly groups: number
  /** Records that became durable. */
  readonly records: number
  /** Bytes of the records themselves, as they are stored. */
  readonly recordBytes: number
  /** Bytes written for them: headers and padding, too. */
  readonly writtenBytes: number
  /** The part of `writtenBytes` that is not of records; 0 without any. */
  readonly overhead: number
  /** Microseconds from a group's first append until it is durable: the longest that a caller waits. */
  readonly appendToDurable: Distribution
  /** Microseconds from the submission of a group's write until it counts as durable. */
  readonly commit: Distribution
  /** Records in each group. */
  readonly recordsPerGroup: Distribution
  /** Bytes written for each group. */
  readonly bytesPerGroup: Distribution
  /** Segments that the log went on to because the one before was full. */
  readonly rotations: number
  /** Segments that the log began because it was opened or rewound. */
  readonly forks: number
  /** The most memory for records on their way, in bytes (`maxBufferedBytes`). */
  readonly bufferBytes: number
  /** How many of `bufferBytes` are in use now. */
  readonly bufferBytesInUse: number
  /** Files that wait to become new segments: of dead ones, and new ones full of zeros. */
  readonly pooledSegments: number
}

/** What the commits alone tell. */
export type CommitFigures = Omit<LogMetrics, 'pooledSegments'>

/** What is published on the channel `riolog:commit` for each group. */
export interface CommitEvent {
  /** The log's directory. */
  readonly path: string
  /** The group's LSN. */
  readonly lsn: number
  /** Records that begin in the group. */
  readonly records: number
  /** Bytes written: records, headers and padding. */
  readonly bytes: number
  /** From the submission of the write until the group counts as durable. */
  readonly microseconds: number
}

const commits = channel('riolog:commit')

const toMicroseconds = (milliseconds: number) => Math.max(1, Math.round(milliseconds * 1000))

export function distribution(histogram: RecordableHistogram | undefined): Distribution {
  const count = histogram?.count ?? 0
  if (histogram === undefined || count === 0) {
    return { count, min: 0, mean: 0, p50: 0, p99: 0, p999: 0, max: 0 }
  }
  return {
    count,
    min: histogram.min,
    mean: histogram.mean,
    p50: histogram.percentile(50),
    p99: histogram.percentile(99),
    p999: histogram.percentile(99.9),
    max: histogram.max,
  }
}

/** A group that has become durable, as the writer knows it. Times in milliseconds, `performance.now`. */
export interface Committed {
  readonly lsn: number
  /** Headers and padding included. */
  readonly writtenBytes: number
  /** Records and fragments. */
  readonly count: number
  /** Records that begin in it. */
  readonly begun: number
  readonly recordBytes: number
  readonly openedAt: number
  readonly submittedAt: number
  readonly durableAt: number
}

interface Histograms {
  readonly appendToDurable: RecordableHistogram
  readonly commit: RecordableHistogram
  readonly recordsPerGroup: RecordableHistogram
  readonly bytesPerGroup: RecordableHistogram
}

/** Some 0.3 ms of work, which an opening that commits nothing is spared. */
function makeHistograms(): Histograms {
  return {
    appendToDurable: createHistogram(),
    commit: createHistogram(),
    recordsPerGroup: createHistogram(),
    bytesPerGroup: createHistogram(),
  }
}

export class CommitMetrics {
  rotations = 0
  forks = 0
  readonly #path: string
  #groups = 0
  #records = 0
  #recordBytes = 0
  #writtenBytes = 0
  #histograms: Histograms | undefined
  /** Durable, and not yet in the figures. */
  readonly #uncounted: Committed[] = []

  constructor(path: string) {
    this.#path = path
  }

  /** A group is durable. Who listens is told at once; its figures are left to {@link count}. */
  committed(group: Committed): void {
    this.#uncounted.push(group)
    if (!commits.hasSubscribers) return
    const { lsn, begun: records, writtenBytes: bytes } = group
    const microseconds = toMicroseconds(group.durableAt - group.submittedAt)
    commits.publish({ path: this.#path, lsn, records, bytes, microseconds } satisfies CommitEvent)
  }

  /** Takes some microseconds, so it is called when the disk has something to do. */
  count(): void {
    while (this.#uncounted.length > 0) this.#count(this.#uncounted.shift()!)
  }

  #count(group: Committed): void {
    const { begun, writtenBytes, durableAt } = group
    this.#groups++
    this.#records += begun
    this.#recordBytes += group.recordBytes
    this.#writtenBytes += writtenBytes
    this.#histograms ??= makeHistograms()
    this.#histograms.appendToDurable.record(toMicroseconds(durableAt - group.openedAt))
    this.#histograms.commit.record(toMicroseconds(durableAt - group.submittedAt))
    this.#histograms.recordsPerGroup.record(group.count)
    this.#histograms.bytesPerGroup.record(writtenBytes)
  }

  read(bufferBytes: number, bufferBytesInUse: number): CommitFigures {
    this.count()
    const [recordBytes, writtenBytes] = [this.#recordBytes, this.#writtenBytes]
    return {
      groups: this.#groups,
      records: this.#records,
      recordBytes,
      writtenBytes,
      overhead: writtenBytes === 0 ? 0 : 1 - recordBytes / writtenBytes,
      appendToDurable: distribution(this.#histograms?.appendToDurable),
      commit: distribution(this.#histograms?.commit),
      recordsPerGroup: distribution(this.#histograms?.recordsPerGroup),
      bytesPerGroup: distribution(this.#histograms?.bytesPerGroup),
      rotations: this.rotations,
      forks: this.forks,
      bufferBytes,
      bufferBytesInUse,
    }
  }
}
