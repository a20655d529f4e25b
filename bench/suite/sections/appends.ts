/** Durable appends, ingest, bandwidth and open-loop latency. */
import { fioPercentile } from '../../fio.ts'
import type { Case, Contender } from '../contender.ts'
import { C_DSYNC, C_POLLED, PEERS, type Setup } from '../setup.ts'
import type { StoreName } from '../stores.ts'
import type { Load } from '../tasks/appends.ts'

const STORES: readonly StoreName[] = ['riolog', 'riolog, trimmed', 'node:fs', ...PEERS]
const SYNC_EACH_MIB = { rw: 'write', bs: '1m', fdatasync: '1', ioengine: 'io_uring', iodepth: '1' }
const MIB = 1 << 20

function all(setup: Setup, bytes: number, load: Load, stores = STORES): Contender[] {
  return [setup.c(bytes, load), ...stores.map(store => setup.store(store, bytes, load))]
}

export const durable = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick, milliseconds } = setup.options
    for (const bytes of quick ? [128, 1024] : [128, 1024, 16_384]) {
      for (const callers of quick ? [1, 64, 512] : [1, 8, 64, 512]) {
        const load = { kind: 'closed', callers, milliseconds } as const
        const stores = [...STORES]
        // With few callers a promise costs nothing beside the disk.
        if (callers >= 64) stores.push('riolog, callbacks')
        if (bytes === 128) stores.push('riolog, busy poll', 'riolog, thread pool')
        const contenders = all(setup, bytes, load, stores)
        contenders.push(setup.c(bytes, load, C_DSYNC), setup.c(bytes, load, C_POLLED))
        if (callers === 1 && bytes <= 1024) contenders.push(writeAndSync(setup))
        yield { title: `${callers} x ${bytes} B`, parameters: { callers, bytes }, contenders }
      }
    }
  }

/** What one caller's record costs at the least: a block, and a sync behind it. */
function writeAndSync(setup: Setup): Contender {
  const options = () => ({
    filename: setup.zeros(),
    ioengine: 'psync',
    rw: 'write',
    bs: '4k',
    fdatasync: '1',
    runtime: `${setup.options.milliseconds}ms`,
  })
  return setup.fio(options, ['--time_based'], ({ write, sync }) => ({
    perSecond: write.iops,
    // fio tells of both by themselves; the sum of their medians is near the median of their sum.
    p50Us: fioPercentile(write.lat_ns, 50) + fioPercentile(sync.lat_ns, 50),
  }))
}

/** In rounds of a durable append. */
const SUSTAINED_ROUNDS = 10

/** Longer than files made ahead last: what a log that grows without a pause comes to. */
export const sustained = (setup: Setup) =>
  function* (): Iterable<Case> {
    const [callers, bytes] = [64, 1024]
    const milliseconds = SUSTAINED_ROUNDS * setup.options.milliseconds
    const load = { kind: 'closed', callers, milliseconds } as const
    const contenders = all(setup, bytes, load, ['riolog', 'riolog, trimmed', 'node:fs'])
    contenders.push(setup.c(bytes, load, C_DSYNC))
    yield { title: `${callers} x ${bytes} B`, parameters: { callers, bytes }, contenders }
  }

const INGESTING = ['riolog, appendBatch', 'riolog, subarrays', 'riolog, appendSlices'] as const

export const ingest = (setup: Setup) =>
  function* (): Iterable<Case> {
    const part = setup.options.quick ? 4 : 1
    for (const [bytes, most] of [
      [128, 1_000_000],
      [1024, 100_000],
    ]) {
      const records = most / part
      const stores = [...STORES, ...INGESTING] as const
      const contenders = all(setup, bytes, { kind: 'ingest', records }, stores)
      yield { title: `${records} x ${bytes} B`, parameters: { records, bytes }, contenders }
    }
  }

export const bandwidth = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { milliseconds } = setup.options
    const callers = 8
    const load = { kind: 'closed', callers, milliseconds } as const
    const runtime = `${milliseconds}ms`
    const fio = setup.fio(
      () => ({ filename: setup.zeros(), runtime, ...SYNC_EACH_MIB }),
      ['--time_based'],
      ({ write }) => ({
        perSecond: write.iops,
        bytesPerSecond: (write.io_bytes / write.runtime) * 1000,
      }),
    )
    const contenders = [fio, ...all(setup, MIB, load, ['riolog', 'riolog, trimmed', 'node:fs'])]
    yield { title: 'appends of 1 MiB, 8 callers', parameters: { bytes: MIB, callers }, contenders }
  }

export const openLoop = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick, milliseconds, seed } = setup.options
    const bytes = 128
    for (const rate of quick ? [5_000, 50_000] : [1_000, 5_000, 20_000, 100_000]) {
      const load = { kind: 'open', rate, milliseconds, seed } as const
      yield {
        title: `${rate} records/s`,
        parameters: { rate, bytes },
        contenders: all(setup, bytes, load),
      }
    }
  }
