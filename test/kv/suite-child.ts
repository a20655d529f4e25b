/** Runs the test suite that abstract-level has for its implementations, on the store; prints TAP. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RiologLevel } from '../../examples/kv/src/index.ts'

const require = createRequire(import.meta.url)
const suite = require('abstract-level/test')
const test = require('tape')

const root = mkdtempSync(join(tmpdir(), 'riolog-test-'))
let count = 0

suite({
  test,
  factory: (options: object) =>
    new RiologLevel(join(root, String(count++)), {
      // What is large is read from the log: here most values are.
      largeBytes: Number(process.argv[2]),
      logOptions: { segmentSize: 1 << 20, idleStampMs: 0 },
      ...options,
    }),
})

test.onFinish(() => rmSync(root, { recursive: true, force: true }))
