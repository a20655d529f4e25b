import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type tap from 'tap'
import { UringDisk } from '../../src/disk/uring.ts'

/** What tests use of tap, at the top and within a subtest alike. */
export type Test = Pick<
  typeof tap,
  | 'test'
  | 'teardown'
  | 'pass'
  | 'fail'
  | 'ok'
  | 'notOk'
  | 'equal'
  | 'not'
  | 'notOk'
  | 'same'
  | 'match'
  | 'notMatch'
  | 'throws'
  | 'rejects'
  | 'comment'
>

export type RealEngine = 'uring' | 'threadpool'

/** Why there is no ring here; undefined when there is one. */
export async function whyNoRing(): Promise<string | undefined> {
  try {
    await new UringDisk().close()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Runs a test on each real engine; without io_uring that half is skipped by name. */
export function onEachEngine(
  t: Test,
  name: string,
  run: (t: Test, engine: RealEngine) => Promise<void>,
): void {
  for (const engine of ['uring', 'threadpool'] as const) {
    t.test(`${name} (${engine})`, async t => {
      const reason = engine === 'uring' ? await whyNoRing() : undefined
      if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
      await run(t, engine)
    })
  }
}

/** A fresh directory on the disk that the tests run on, removed when the test ends. */
export function temporaryDirectory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'riolog-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}
