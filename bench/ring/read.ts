/** O_DIRECT reads of 4 KiB at random places of one file, `depth` of them in flight. */
import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, openSync, statfsSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { absentFio, fioCpuSeconds, fioPercentile, runFio } from '../fio.ts'
import { absentScript, lastLine, node, numbers, run } from './children.ts'
import type { Benchmark, Contender, Figures } from './contender.ts'
import { BLOCK, stampOf } from './random-reads.ts'

export interface ReadCase {
  readonly file: string
  readonly depth: number
  readonly seconds: number
}

const DEPTHS = [1, 4, 32]
const FILE_BYTES = 1 << 30
/** Of the free space, at most a part of it is taken. */
const PART_OF_FREE = 1 / 4
const CHUNK = 4 << 20

export function readBenchmark(
  folder: string,
  seconds: number,
  others: readonly Contender<ReadCase>[],
): Benchmark<ReadCase> {
  const file = writeReadFile(folder)
  return {
    title: `O_DIRECT random reads of 4 KiB from ${statSync(file).size >> 20} MiB`,
    cases: DEPTHS.map(depth => ({ file, depth, seconds })),
    nameOf: ({ depth }) => `queue depth ${depth}`,
    contenders: [fio(), nodeFs(undefined), nodeFs(32), ...others],
  }
}

/** Makes the file that is read, and returns its path. */
export function writeReadFile(folder: string): string {
  const file = join(folder, 'read.bin')
  writeFile(file, fileBytes(folder))
  return file
}

function fileBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  const most = Math.min(FILE_BYTES, bavail * bsize * PART_OF_FREE)
  return Math.floor(most / CHUNK) * CHUNK
}

/** Written in full: a block that was never written is read without the device being asked. */
function writeFile(path: string, bytes: number): void {
  const chunk = Buffer.alloc(CHUNK)
  // Random, so that no layer below can take it for zeros or for a copy of another block.
  randomFillSync(chunk)
  const fd = openSync(path, 'wx', 0o600)
  for (let at = 0; at < bytes; at += CHUNK) {
    for (let block = 0; block < CHUNK; block += BLOCK) {
      chunk.writeInt32LE(stampOf(at + block), block)
    }
    if (writeSync(fd, chunk) !== CHUNK) throw new Error(`a short write to ${path}`)
  }
  fsyncSync(fd)
  closeSync(fd)
}

export function nodeFs(threads: number | undefined): Contender<ReadCase> {
  const { UV_THREADPOOL_SIZE: _, ...rest } = process.env
  const env = threads === undefined ? rest : { ...rest, UV_THREADPOOL_SIZE: `${threads}` }
  return readScript(`node:fs, ${threads ?? "libuv's 4"} threads`, 'read-node-fs.ts', env)
}

/** @param script is called with file, depth and seconds, and prints what runRandomReads prints */
export function readScript(
  name: string,
  script: string,
  env: NodeJS.ProcessEnv = process.env,
): Contender<ReadCase> {
  return {
    name,
    absent: absentScript(script),
    run: async ({ file, depth, seconds: duration }) => {
      const output = await run(node(script, file, `${depth}`, `${duration}`), duration, env)
      const { operations, seconds, p50us, p99us, cpuSeconds } = numbers(
        lastLine(output),
        'operations',
        'seconds',
        'p50us',
        'p99us',
        'cpuSeconds',
      )
      return {
        perSecond: operations / seconds,
        p50Us: p50us,
        p99Us: p99us,
        cpuUs: (cpuSeconds / operations) * 1e6,
      }
    },
  }
}

export function fio(): Contender<ReadCase> {
  return { name: "fio's io_uring engine", absent: absentFio(), run: runRandom }
}

async function runRandom({ file, depth, seconds }: ReadCase): Promise<Figures> {
  const options = {
    name: 'read',
    filename: file,
    ioengine: 'io_uring',
    rw: 'randread',
    bs: '4k',
    iodepth: `${depth}`,
    runtime: `${Math.round(seconds * 1000)}ms`,
    // As the others choose their places: any of the blocks, and others in every run.
    norandommap: '1',
    randrepeat: '0',
  }
  const job = await runFio(options, ['--readonly', '--time_based'], seconds)
  const { read } = job
  if (read.total_ios === 0) throw new Error('fio read nothing')
  return {
    perSecond: read.iops,
    p50Us: fioPercentile(read.lat_ns, 50),
    p99Us: fioPercentile(read.lat_ns, 99),
    cpuUs: (fioCpuSeconds(job) / read.total_ios) * 1e6,
  }
}
