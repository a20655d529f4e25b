/**
 * riolog's contenders, one function for each benchmark. A script that does not exist is left out,
 * with a note; what a script is called with and prints stands beside the helper that runs it.
 */
import type { Contender } from './contender.ts'
import type { EchoCase, EchoScript } from './echo.ts'
import { type NopCase, nopScript } from './nop.ts'
import { type ReadCase, readScript } from './read.ts'

/** One row for each mode that nop-riolog.ts knows. */
export function nopContenders(): readonly Contender<NopCase>[] {
  return [
    nopScript('riolog, a promise each', 'nop-riolog.ts', 'promises'),
    nopScript('riolog, a promise a batch', 'nop-riolog.ts', 'batch'),
    nopScript('riolog, batch and waitSync', 'nop-riolog.ts', 'waitSync'),
  ]
}

/** runRandomReads in random-reads.ts is the loop for it. */
export function readContenders(): readonly Contender<ReadCase>[] {
  return [readScript('riolog', 'read-riolog.ts')]
}

/** With the protocol of echo-node-net.ts. */
export function echoContenders(script: EchoScript): readonly Contender<EchoCase>[] {
  return [script('riolog', 'echo-riolog.ts')]
}
