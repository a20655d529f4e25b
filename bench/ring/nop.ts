/** What a ring costs without I/O: NOPs, `batch` of them submitted and awaited together. */
import { absentScript, buildC, type Command, lastLine, node, numbers, run } from './children.ts'
import type { Benchmark, Contender, Figures } from './contender.ts'

export interface NopCase {
  readonly batch: number
  readonly seconds: number
}

const BATCHES = [1, 32, 256]

export function nopBenchmark(
  folder: string,
  seconds: number,
  others: readonly Contender<NopCase>[],
): Benchmark<NopCase> {
  const program = buildC('nop', folder)
  const c: Contender<NopCase> = {
    name: 'C, raw system calls',
    absent: program.absent,
    run: ({ batch, seconds }) => runNop([program.path, `${batch}`, `${seconds}`], seconds),
  }
  return {
    title: 'NOPs on io_uring',
    cases: BATCHES.map(batch => ({ batch, seconds })),
    nameOf: ({ batch }) => `batch ${batch}`,
    contenders: [c, ...others],
  }
}

/** @param script is called with `mode`, batch and seconds, and prints the line that nop.c prints */
export function nopScript(name: string, script: string, mode: string): Contender<NopCase> {
  return {
    name,
    absent: absentScript(script),
    run: ({ batch, seconds }) => runNop(node(script, mode, `${batch}`, `${seconds}`), seconds),
  }
}

async function runNop(command: Command, duration: number): Promise<Figures> {
  const line = lastLine(await run(command, duration))
  const { operations, seconds, cpuSeconds } = numbers(line, 'operations', 'seconds', 'cpuSeconds')
  return { perSecond: operations / seconds, cpuUs: (cpuSeconds / operations) * 1e6 }
}
