/** fio, the tool that disks are measured with. */
import { execFileSync } from 'node:child_process'
import { run } from './ring/children.ts'

/** Why there is none. */
export function absentFio(): string | undefined {
  try {
    execFileSync('fio', ['--version'], { stdio: 'pipe' })
    return undefined
  } catch {
    return 'there is no fio; apt-get install fio'
  }
}

interface Latency {
  readonly percentile?: Readonly<Record<string, number>>
}

interface Direction {
  readonly iops: number
  readonly total_ios: number
  readonly io_bytes: number
  /** Milliseconds. */
  readonly runtime: number
  readonly lat_ns: Latency
}

/** Of fio's report on a job, what is read here. */
export interface FioJob {
  /** Milliseconds. */
  readonly job_runtime: number
  /** Percent of the running time. */
  readonly usr_cpu: number
  readonly sys_cpu: number
  readonly error: number
  readonly read: Direction
  readonly write: Direction
  readonly sync: { readonly lat_ns: Latency }
}

/** @param seconds about how long it takes */
export async function runFio(
  options: Readonly<Record<string, string>>,
  flags: readonly string[],
  seconds: number,
): Promise<FioJob> {
  const all = {
    direct: '1',
    // From the submission on, as the others take it; fio's default leaves the submission out.
    lat_percentiles: '1',
    clat_percentiles: '0',
    percentile_list: '50:99:99.9',
    'output-format': 'json',
    ...options,
  }
  const args = Object.entries(all).map(([name, value]) => `--${name}=${value}`)
  const output = await run(['fio', ...flags, ...args], seconds)
  // Notes may stand before the report.
  const report = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: readonly FioJob[] }
  const [job] = report.jobs
  if (job.error !== 0) throw new Error(`fio failed with error ${job.error}`)
  return job
}

/** In microseconds. */
export function fioPercentile({ percentile }: Latency, percent: 50 | 99 | 99.9): number {
  const found = percentile?.[percent.toFixed(6)]
  if (found === undefined) throw new Error(`fio told no percentile ${percent}`)
  return found / 1000
}

export function fioCpuSeconds({ usr_cpu, sys_cpu, job_runtime }: FioJob): number {
  return (((usr_cpu + sys_cpu) / 100) * job_runtime) / 1000
}
