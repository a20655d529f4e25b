import type { Section } from '../contender.ts'
import type { Setup } from '../setup.ts'
import { bandwidth, durable, ingest, openLoop, sustained } from './appends.ts'
import { randomReads, recovery, scan } from './reads.ts'
import { scaleCallers, scaleLogs, scaleRecords, scaleSegments, scaleWorkers } from './scale.ts'
import { ycsb } from './ycsb.ts'

/** By the name that `--only` takes. */
export const SECTIONS = {
  durable,
  sustained,
  ingest,
  bandwidth,
  'open-loop': openLoop,
  scan,
  'random-reads': randomReads,
  recovery,
  ycsb,
  'scale-records': scaleRecords,
  'scale-callers': scaleCallers,
  'scale-segments': scaleSegments,
  'scale-logs': scaleLogs,
  'scale-workers': scaleWorkers,
} satisfies Record<string, (setup: Setup) => Section['cases']>

export type SectionName = keyof typeof SECTIONS
