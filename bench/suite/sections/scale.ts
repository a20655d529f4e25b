/** What becomes dearer as something grows: records, callers, segments, the log, logs, threads. */
import type { Case } from '../contender.ts'
import type { Setup } from '../setup.ts'
import { openings } from './reads.ts'

const KIB = 1 << 10
const MIB = 1 << 20

function both(setup: Setup, callers: number, bytes: number, title: string): Case {
  const load = { kind: 'closed', callers, milliseconds: setup.options.milliseconds } as const
  const contenders = [setup.c(bytes, load), setup.store('riolog', bytes, load)]
  return { title, parameters: { callers, bytes }, contenders }
}

export const scaleRecords = (setup: Setup) =>
  function* (): Iterable<Case> {
    const few = [16, 4 * KIB, 64 * KIB]
    const many = [16, 128, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB]
    for (const bytes of setup.options.quick ? few : many) {
      yield both(setup, 16, bytes, `16 callers, ${bytes} B`)
    }
  }

export const scaleCallers = (setup: Setup) =>
  function* (): Iterable<Case> {
    const counts = setup.options.quick ? [16, 256, 4096] : [1, 4, 16, 64, 256, 1024, 4096, 16_384]
    for (const callers of counts) yield both(setup, callers, 128, `${callers} callers, 128 B`)
  }

export const scaleSegments = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick } = setup.options
    // Many small segments, and then a log that is large by its bytes.
    for (const segments of quick ? [10, 300] : [10, 100, 1000, 2000]) {
      const settings = { segmentSize: 64 * KIB, record: 40 * KIB, bytes: segments * 40 * KIB }
      const title = `about ${segments} segments of 64 KiB`
      yield { title, parameters: { segments }, contenders: openings(setup, settings) }
    }
    for (const mib of quick ? [128] : [128, 512, 1024, 4096]) {
      const settings = { segmentSize: 64 * MIB, record: MIB / 2, bytes: mib * MIB }
      const title = `${mib} MiB in segments of 64 MiB`
      yield { title, parameters: { mib }, contenders: openings(setup, settings) }
    }
    const mib = (quick ? 1 : 100) * 1024
    const settings = { segmentSize: 64 * MIB, record: MIB / 2, bytes: mib * MIB, holes: true }
    const title = `${mib} MiB in segments of 64 MiB, with holes in their files`
    yield { title, parameters: { mib }, contenders: openings(setup, settings) }
  }

export const scaleLogs = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick, milliseconds } = setup.options
    for (const logs of quick ? [10, 100] : [1, 10, 100, 1000]) {
      const bytes = 128
      const riolog = setup.task('riolog', 'manyLogs', directory => {
        return { directory, logs, bytes, milliseconds }
      })
      const title = `${logs} ${logs === 1 ? 'log' : 'logs'}, a caller each`
      yield { title, parameters: { logs, bytes }, contenders: [riolog] }
    }
  }

export const scaleWorkers = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick, milliseconds } = setup.options
    for (const threads of quick ? [1, 2] : [1, 2, 4, 8]) {
      const [callers, bytes] = [64, 128]
      const riolog = setup.task('riolog', 'workers', directory => {
        return { directory, threads, callers, bytes, milliseconds }
      })
      const title = `${threads} ${threads === 1 ? 'thread' : 'threads'}, a log and 64 callers each`
      yield { title, parameters: { threads, callers, bytes }, contenders: [riolog] }
    }
  }
