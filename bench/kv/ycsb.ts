/**
 * YCSB's workloads A to F on riolog-kv and on other embedded stores, at equal durability: each write is
 * awaited until it would survive a power cut. The stores take turns in each round, and medians are printed.
 *
 *   npm install --prefix bench/peers
 *   node --import=tsx bench/kv/ycsb.ts [--seconds 2] [--rounds 3] [--records 10000] [--workloads A,B]
 *     [--distributions uniform,zipfian] [--peers riolog-kv,lmdb] [--directory .] [--json FILE] [--plot FILE]
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { TopLevelSpec } from 'vega-lite'
import { svgOf } from '../../scripts/svg.ts'
import { median } from '../statistics.ts'
import { PEERS, type Peer, type PeerName } from './peers.ts'
import {
  Chooser,
  type Distribution,
  kindOf,
  WORKLOADS,
  type Workload,
  Zipfian,
} from './workloads.ts'

const CALLERS = 64
const VALUE_BYTES = 1024
const SCAN_MAX = 100

const { values: given } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    records: { type: 'string', default: '10000' },
    workloads: { type: 'string', default: WORKLOADS.map(({ name }) => name).join() },
    distributions: { type: 'string', default: 'uniform,zipfian' },
    peers: { type: 'string', default: Object.keys(PEERS).join() },
    directory: { type: 'string', default: tmpdir() },
    json: { type: 'string' },
    plot: { type: 'string' },
  },
})
const records = Number(given.records)
const rounds = Number(given.rounds)
const zipfian = new Zipfian(records)

/** A store, and how many records it has by now. */
interface Subject {
  readonly name: PeerName
  readonly peer: Peer
  count: number
}

interface Row {
  readonly workload: string
  readonly distribution: Distribution
  readonly opsPerSecond: Record<string, number>
}

function keyOf(number: number): string {
  return `user${String(number).padStart(12, '0')}`
}

/** Made ahead: to make one takes a tenth of what the fastest store takes to keep it. */
const VALUES = Array.from({ length: 1024 }, () => randomBytes(VALUE_BYTES))
let lastValue = 0

function newValue(): Buffer {
  lastValue = (lastValue + 1) % VALUES.length
  return VALUES[lastValue]
}

async function load(name: PeerName, directory: string): Promise<Subject> {
  const peer = await PEERS[name](join(directory, name))
  for (let at = 0; at < records; at += 1000) {
    const length = Math.min(1000, records - at)
    await Promise.all(Array.from({ length }, (_, i) => peer.put(keyOf(at + i), newValue())))
  }
  return { name, peer, count: records }
}

async function oneOperation(subject: Subject, workload: Workload, chooser: Chooser) {
  const { peer } = subject
  const kind = kindOf(workload)
  if (kind === 'insert') return peer.put(keyOf(subject.count++), newValue())
  const key = keyOf(chooser.next(subject.count))
  if (kind === 'update') return peer.put(key, newValue())
  if (kind === 'scan') return peer.scan(key, 1 + Math.floor(Math.random() * SCAN_MAX))
  const value = await peer.get(key)
  // One that another caller inserts just now may not be there yet.
  if (value === undefined && !workload.latest) throw new Error(`${subject.name} lost ${key}`)
  if (kind === 'modify') await peer.put(key, newValue())
}

/** @returns operations per second */
async function measure(subject: Subject, workload: Workload, distribution: Distribution) {
  const chooser = new Chooser(zipfian, distribution, workload.latest ?? false)
  const start = performance.now()
  const end = start + Number(given.seconds) * 1000
  let done = 0
  const caller = async () => {
    while (performance.now() < end) {
      await oneOperation(subject, workload, chooser)
      // Reads that never wait would keep the other callers and the disk from their turns.
      if (++done % CALLERS === 0) await new Promise(resolve => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  return (done * 1000) / (performance.now() - start)
}

async function rowOf(subjects: Subject[], workload: Workload, distribution: Distribution) {
  const rates = new Map<string, number[]>(subjects.map(({ name }) => [name, []]))
  // The first does not count: code is compiled in it, and files grow to their length.
  for (let round = 0; round <= rounds; round++) {
    // Each is first in turn, so that what disturbs the machine disturbs all.
    const order = subjects.map((_, i) => subjects[(i + round) % subjects.length])
    for (const subject of order) {
      const rate = await measure(subject, workload, distribution)
      if (round > 0) rates.get(subject.name)!.push(rate)
    }
  }
  const opsPerSecond = Object.fromEntries(
    [...rates].map(([name, all]) => [name, Math.round(median(all))]),
  )
  return { workload: workload.name, distribution, opsPerSecond }
}

function print({ workload, distribution, opsPerSecond }: Row): void {
  const best = Math.max(...Object.values(opsPerSecond))
  const cells = Object.values(opsPerSecond).map(rate => {
    const ratio = (rate / best).toFixed(2)
    return `${rate} (${ratio})`.padStart(18)
  })
  console.log([workload.padEnd(3), distribution.padEnd(9), ...cells].join(''))
}

function plotOf(rows: readonly Row[]): TopLevelSpec {
  const values = rows.flatMap(({ workload, distribution, opsPerSecond }) =>
    Object.entries(opsPerSecond).map(([store, rate]) => ({ workload, distribution, store, rate })),
  )
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title: `YCSB, ${CALLERS} callers, values of ${VALUE_BYTES} bytes, each write awaited durable: operations/s`,
    width: 320,
    height: 60,
    data: { values },
    mark: 'bar',
    encoding: {
      y: { field: 'store', type: 'nominal', sort: null, title: null },
      x: { field: 'rate', type: 'quantitative', title: null },
      row: { field: 'workload', type: 'nominal', title: null },
      column: { field: 'distribution', type: 'nominal', title: null },
      color: { field: 'store', type: 'nominal', sort: null, legend: null },
    },
    resolve: { scale: { x: 'independent' } },
  }
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(given.directory, 'riolog-ycsb-'))
  const subjects: Subject[] = []
  try {
    for (const name of given.peers.split(',')) {
      subjects.push(await load(name as PeerName, directory))
    }
    const names = subjects.map(({ name }) => name.padStart(18))
    console.log(`${records} records of ${VALUE_BYTES} bytes, ${CALLERS} callers, operations/s:`)
    console.log(['   ', ''.padEnd(9), ...names].join(''))
    const rows: Row[] = []
    for (const workload of WORKLOADS) {
      if (!given.workloads.split(',').includes(workload.name)) continue
      for (const distribution of given.distributions.split(',') as Distribution[]) {
        const row = await rowOf(subjects, workload, distribution)
        rows.push(row)
        print(row)
      }
    }
    const report = { records, valueBytes: VALUE_BYTES, callers: CALLERS, rounds, rows }
    if (given.json !== undefined) writeFileSync(given.json, JSON.stringify(report, undefined, 2))
    if (given.plot !== undefined) writeFileSync(given.plot, await svgOf(plotOf(rows)))
  } finally {
    for (const { peer } of subjects) await peer.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

await main()
