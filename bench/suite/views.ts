/** How each section is shown: what counts in it, against whom, and what stands beside that. */
import type { SectionName } from './sections/index.ts'
import { C, FIO } from './setup.ts'

export interface Column {
  readonly heading: string
  readonly figure: string
  readonly digits: number
}

export interface View {
  readonly title: string
  /** What a reader has to know. */
  readonly text: string
  readonly main: Column & { readonly per?: number }
  readonly isLess: boolean
  /** Whom ratios are to; none where nobody else does the same. */
  readonly yardstick?: string
  readonly columns: readonly Column[]
}

const P50 = { heading: 'p50 us', figure: 'p50Us', digits: 0 }
const P99 = { heading: 'p99 us', figure: 'p99Us', digits: 0 }
const P999 = { heading: 'p99.9 us', figure: 'p999Us', digits: 0 }
const CPU = { heading: 'CPU us/record', figure: 'cpuUs', digits: 2 }
const WRITTEN = { heading: 'written/appended', figure: 'writtenPerByte', digits: 2 }
const DEVICE = { heading: 'device/appended', figure: 'deviceWrittenPerByte', digits: 2 }
const MEMORY = { heading: 'peak RSS MiB', figure: 'peakRssMiB', digits: 0 }
const RECORDS = { heading: 'records/s', figure: 'perSecond', digits: 0 }
const BANDWIDTH = { heading: 'MB/s', figure: 'bytesPerSecond', digits: 0, per: 1e6 }

const throughput = { main: RECORDS, isLess: false, yardstick: C }
const OPENING = {
  main: { heading: 'ms', figure: 'milliseconds', digits: 1 },
  isLess: true,
  columns: [
    { heading: 'MiB read', figure: 'readMiB', digits: 2 },
    { heading: 'segments', figure: 'segments', digits: 0 },
    { heading: 'MiB a segment', figure: 'segmentMiB', digits: 2 },
  ],
}

export const VIEWS: Record<SectionName, View> = {
  durable: {
    ...throughput,
    title: 'Durable appends',
    text:
      'Callers in a closed loop: each appends a record, awaits that it is durable, and goes on. Written is what the ' +
      'process hands to the device a byte of records, until it rests behind a round; device what the device takes of all processes.',
    columns: [P50, P99, P999, CPU, WRITTEN, DEVICE, MEMORY],
  },
  sustained: {
    ...throughput,
    title: 'Durable appends without a pause',
    text:
      'The same in rounds that are ten times as long: `riolog` has used up the files that it keeps for a burst, and writes zeros beside ' +
      'its commits. `riolog, trimmed` takes files again, and the C program writes over one.',
    columns: [P50, P99, P999, CPU, WRITTEN, DEVICE, MEMORY],
  },
  ingest: {
    ...throughput,
    title: 'Ingest',
    text: 'All records one after the other, none of them awaited, and one flush at the end, which counts.',
    columns: [CPU, WRITTEN, DEVICE, MEMORY],
  },
  bandwidth: {
    title: 'Sequential bandwidth',
    text: 'A sync behind each 1 MiB, which is what riolog does with groups of that length; fio by `fdatasync=1`.',
    main: BANDWIDTH,
    isLess: false,
    yardstick: FIO,
    columns: [P50, P99, CPU, WRITTEN, MEMORY],
  },
  'open-loop': {
    title: 'Latency at fixed rates',
    text:
      'Records come at random times (Poisson), so many a second, whether those before are durable or not. A latency ' +
      'counts from when the record was due, so that what a stall holds up is counted too (no coordinated omission). ' +
      'Where fewer records/s are durable than come, the rate is more than the contender can do.',
    main: P99,
    isLess: true,
    yardstick: C,
    columns: [P50, P999, RECORDS],
  },
  scan: {
    title: 'Scan',
    text:
      'A whole log in order, each checksum verified, each record checked by the reader, past the page cache. ' +
      '`scanBatches` hands out views of what was read, `scan` copies.',
    main: BANDWIDTH,
    isLess: false,
    yardstick: FIO,
    columns: [RECORDS, CPU, MEMORY],
  },
  'random-reads': {
    title: 'Random reads',
    text:
      'fio, the raw ring and node:fs read aligned blocks of a file. `riolog` reads records of 4096 bytes by their ' +
      'LSN, verified; with its header each stands in two blocks.',
    main: { heading: 'reads/s', figure: 'perSecond', digits: 0 },
    isLess: false,
    yardstick: FIO,
    columns: [P50, P99, CPU],
  },
  recovery: {
    ...OPENING,
    title: 'Recovery',
    text:
      'The time of an opening, and what it reads of the device: of a log that was closed, and of one whose writer was ' +
      'killed in full flight.',
  },
  ycsb: {
    title: 'YCSB',
    text:
      'The workloads A (half updates), B (5 % updates), C (reads), D (5 % inserts, the latest are read), E (scans of up to ' +
      '100) and F (half of what is read is changed): 10,000 records of 1 KiB, 64 callers in a closed loop, each write ' +
      'awaited durable. `riolog-kv` is the store of `examples/kv`, which keeps short values in memory.',
    main: { heading: 'operations/s', figure: 'perSecond', digits: 0 },
    isLess: false,
    yardstick: 'lmdb',
    columns: [P50, P99, { ...CPU, heading: 'CPU us/operation' }, MEMORY],
  },
  'scale-records': {
    ...throughput,
    title: 'Scale: the size of records',
    text: '16 callers in a closed loop.',
    columns: [P50, P99, CPU, WRITTEN, MEMORY],
  },
  'scale-callers': {
    ...throughput,
    title: 'Scale: the number of callers',
    text: 'Callers in a closed loop, 128 bytes each.',
    columns: [P50, P99, CPU, WRITTEN, MEMORY],
  },
  'scale-segments': {
    ...OPENING,
    title: 'Scale: segments, and the size of the log',
    text: 'The time of an opening. The longest log has holes in its files, of what an opening does not read.',
  },
  'scale-logs': {
    title: 'Scale: logs in one process',
    text: 'Each with a caller that appends 128 bytes in a closed loop, in segments of 1 MiB.',
    main: RECORDS,
    isLess: false,
    columns: [P50, P99, CPU, MEMORY, { heading: 'opening ms', figure: 'openMs', digits: 2 }],
  },
  'scale-workers': {
    title: 'Scale: worker threads',
    text: 'Each with a log of its own, and 64 callers that append 128 bytes. Latencies are of the slowest thread.',
    main: RECORDS,
    isLess: false,
    columns: [P50, P99, CPU, MEMORY],
  },
}
