/** Scans, random reads and openings. */
import { rmSync } from 'node:fs'
import type { Contender as RingContender } from '../../ring/contender.ts'
import {
  fio as fioRandom,
  nodeFs,
  type ReadCase,
  readScript,
  writeReadFile,
} from '../../ring/read.ts'
import type { Child } from '../children.ts'
import type { Case, Contender, Session } from '../contender.ts'
import type { Setup } from '../setup.ts'
import type { OpeningSettings } from '../tasks/opening.ts'

const MIB = 1 << 20
const GIB = 1 << 30
const DEPTH = 32

const totalBytes = (setup: Setup) => (setup.options.quick ? 256 * MIB : GIB)

/** Made once: random bytes, in full. */
const files = new WeakMap<Setup, string>()

function readFile(setup: Setup): string {
  const file = files.get(setup) ?? writeReadFile(setup.folder)
  files.set(setup, file)
  return file
}

export const scan = (setup: Setup) =>
  function* (): Iterable<Case> {
    const total = totalBytes(setup)
    for (const bytes of setup.options.quick ? [1024] : [128, 1024, 16_384]) {
      // Small ones are fewer: all of 1 GiB would take long to write, and tell nothing more.
      const records = Math.floor((bytes < 1024 ? total / 4 : total) / bytes)
      const ways = (['scan', 'scanBatches'] as const).map(load => {
        const name = load === 'scan' ? 'riolog' : `riolog, ${load}`
        return setup.task(name, 'reads', directory => ({ directory, bytes, records, load }))
      })
      const parameters = { bytes, records }
      yield {
        title: `records of ${bytes} B`,
        parameters,
        contenders: [fioScan(setup, total), ...ways],
      }
    }
  }

function fioScan(setup: Setup, total: number): Contender {
  const options = () => ({
    filename: readFile(setup),
    ioengine: 'io_uring',
    iodepth: '4',
    rw: 'read',
    bs: '1m',
    size: String(total),
  })
  return setup.fio(options, ['--readonly'], ({ read }) => ({
    perSecond: read.iops,
    bytesPerSecond: (read.io_bytes / read.runtime) * 1000,
  }))
}

/** Of `bench:ring`, which starts a process for each round. */
function ofRing(setup: Setup, { name, absent, run }: RingContender<ReadCase>): Contender {
  const seconds = setup.options.milliseconds / 1000
  const start = async (): Promise<Session> => {
    const what = { file: readFile(setup), depth: DEPTH, seconds }
    return { measure: async () => ({ ...(await run(what)) }), close: async () => {} }
  }
  return { name, absent, start }
}

export const randomReads = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { milliseconds, seed } = setup.options
    const bytes = 4096
    const load = { depth: DEPTH, milliseconds, seed }
    const records = Math.floor(totalBytes(setup) / bytes)
    const contenders = [
      ofRing(setup, { ...fioRandom(), name: 'fio' }),
      setup.task('riolog', 'reads', directory => ({ directory, bytes, records, load })),
      ofRing(setup, readScript('riolog/ring', 'read-riolog.ts')),
      ofRing(setup, nodeFs(DEPTH)),
    ]
    const parameters = { bytes, depth: DEPTH }
    yield { title: `4 KiB at random, ${DEPTH} at a time`, parameters, contenders }
  }

export const recovery = (setup: Setup) =>
  function* (): Iterable<Case> {
    const settings = { segmentSize: 64 * MIB, record: MIB / 2, bytes: totalBytes(setup) }
    const parameters = { bytes: settings.bytes, segmentBytes: settings.segmentSize }
    const contenders = openings(setup, settings)
    yield { title: `a log of ${settings.bytes / MIB} MiB`, parameters, contenders }
  }

type Ending = 'killed' | 'closed'
type Filling = Omit<OpeningSettings, 'directory'>

/** What is appended between two openings, so that each has an end of its own to find. */
const BETWEEN_BYTES = 32 * MIB

export function openings(setup: Setup, filling: Filling): Contender[] {
  return (['closed', 'killed'] as const).map(ending => ({
    name: `riolog, ${ending}`,
    start: () => startOpenings(setup, filling, ending),
  }))
}

async function startOpenings(setup: Setup, filling: Filling, ending: Ending): Promise<Session> {
  const directory = setup.newFolder()
  const settings = { ...filling, directory }
  await end(await setup.child('filling', settings), ending)
  const between = { ...settings, bytes: Math.min(BETWEEN_BYTES, filling.segmentSize / 2) }
  const measure = async () => {
    const child = await setup.child('opening', between)
    try {
      return await child.measure(0)
    } finally {
      await end(child, ending)
    }
  }
  return { measure, close: async () => rmSync(directory, { recursive: true, force: true }) }
}

async function end(child: Child, ending: Ending): Promise<void> {
  if (ending === 'closed') return child.close()
  // In full flight.
  await child.measure(1)
  await new Promise(resolve => setTimeout(resolve, 20))
  await child.kill()
}
