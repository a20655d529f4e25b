/** `riolog stats`: how much of what the log is made of, and how its groups turned out. */
import { createHistogram } from 'node:perf_hooks'
import type { Command } from 'commander'
import prettyBytes from 'pretty-bytes'
import { type Distribution, distribution } from '../log/metrics.ts'
import { RECORD_CONTINUATION } from '../segment/group.ts'
import { FailedWith } from './failure.ts'
import { printFields, printJson, printTable } from './output.ts'
import { corruptionOf, surveyed } from './surveyed.ts'

interface StatsOptions {
  readonly json?: true
}

interface OfSegment {
  readonly number: number
  readonly fileBytes: number
  groups: number
  records: number
  /** Of the records themselves. */
  recordBytes: number
  /** With headers and padding. */
  writtenBytes: number
}

interface Stats {
  readonly records: number
  readonly recordBytes: number
  readonly groups: number
  readonly writtenBytes: number
  readonly overhead: number
  readonly recordsPerGroup: Distribution
  readonly bytesPerGroup: Distribution
  readonly holes: number
  readonly segments: readonly OfSegment[]
}

export function addStats(program: Command): void {
  program
    .command('stats')
    .description('records, bytes, overhead and the sizes of groups, in all and for each segment')
    .argument('<dir>', 'directory of the log; better not in use')
    .option('--json', 'print one line of JSON')
    .action(stats)
}

async function stats(dir: string, { json }: StatsOptions): Promise<void> {
  await surveyed(dir, async (survey, tally) => {
    const segments: OfSegment[] = []
    const recordsPerGroup = createHistogram()
    const bytesPerGroup = createHistogram()
    let damage = survey.manifestProblem === undefined ? undefined : corruptionOf(survey)
    let holes = 0
    for await (const item of survey.items()) {
      if (item.kind === 'segment') {
        const { number, header } = item
        const none = { groups: 0, records: 0, recordBytes: 0, writtenBytes: 0 }
        segments.push({ number, fileBytes: header.fileBytes, ...none })
      } else if (item.kind === 'hole') {
        holes++
        damage ??= corruptionOf(survey, item)
      } else if (item.kind === 'group') {
        const segment = segments.at(-1)!
        const writtenBytes = item.end - item.group.lsn
        let records = 0
        for (const { lsn, flags, bytes } of item.records()) {
          segment.recordBytes += bytes.length
          tally.lsn = lsn
          if ((flags & RECORD_CONTINUATION) !== 0) continue
          records++
          tally.add(bytes.length)
        }
        segment.groups++
        segment.records += records
        segment.writtenBytes += writtenBytes
        bytesPerGroup.record(writtenBytes)
        // The group that begins an opening holds none.
        if (records > 0) recordsPerGroup.record(records)
      }
    }
    const sum = (of: (segment: OfSegment) => number) => segments.reduce((n, s) => n + of(s), 0)
    const [recordBytes, writtenBytes] = [sum(s => s.recordBytes), sum(s => s.writtenBytes)]
    const found: Stats = {
      records: sum(s => s.records),
      recordBytes,
      groups: sum(s => s.groups),
      writtenBytes,
      overhead: writtenBytes === 0 ? 0 : 1 - recordBytes / writtenBytes,
      recordsPerGroup: distribution(recordsPerGroup),
      bytesPerGroup: distribution(bytesPerGroup),
      holes,
      segments,
    }
    if (damage !== undefined && json) throw new FailedWith(damage, found)
    if (json) return printJson({ ok: true, ...found })
    await printStats(found)
    if (damage !== undefined) throw damage
  })
}

async function printStats(found: Stats): Promise<void> {
  const { recordsPerGroup, bytesPerGroup } = found
  const spread = ({ min, p50, p99, max }: Distribution) =>
    `min ${min}, p50 ${p50}, p99 ${p99}, max ${max}`
  await printFields({
    records: found.records,
    'bytes of records': size(found.recordBytes),
    groups: found.groups,
    'bytes written': size(found.writtenBytes),
    overhead: percent(found.overhead),
    'records a group': spread(recordsPerGroup),
    'bytes a group': spread(bytesPerGroup),
    holes: found.holes,
  })
  if (found.segments.length === 0) return
  const rows = found.segments.map(one => [
    String(one.number),
    prettyBytes(one.fileBytes, { binary: true }),
    String(one.groups),
    String(one.records),
    prettyBytes(one.recordBytes, { binary: true }),
    percent(one.writtenBytes === 0 ? 0 : 1 - one.recordBytes / one.writtenBytes),
  ])
  await printTable([['segment', 'file', 'groups', 'records', 'bytes', 'overhead'], ...rows])
}

function size(bytes: number): string {
  return `${bytes} (${prettyBytes(bytes, { binary: true })})`
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`
}
