/**
 * Runs the test suite that abstract-level has for its implementations on the store; prints TAP. On a
 * simulated disk, unless told: the suite opens some thousand stores, and is not about their durability.
 *
 * Arguments: how long a value is that stays in the log, `real` or `simulated`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KvError } from '../../examples/kv/src/errors.ts'
import { RiologLevel, type StoreOptions } from '../../examples/kv/src/index.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { openSimulated } from '../support/simulated.ts'
import { SimulatedFiles } from './simulated-files.ts'

const require = createRequire(import.meta.url)
const suite = require('abstract-level/test')
const test = require('tape')

const [largeBytes, disk] = process.argv.slice(2)
const root = mkdtempSync(join(tmpdir(), 'riolog-test-'))
let count = 0

/** Its own options do not go through Level's: the suite looks at what an opening is given. */
class TestedLevel extends RiologLevel {
  readonly #device = new SimulatedDevice()

  override async _open(options: StoreOptions): Promise<void> {
    const given = disk === 'real' ? REAL : await this.#simulated(options)
    await super._open({ largeBytes: Number(largeBytes), ...given, ...options })
  }

  /** What the store does with these options in a folder, the test does for a device. */
  async #simulated({ createIfMissing, errorIfExists }: StoreOptions): Promise<StoreOptions> {
    const isThere = this.#device.names().length > 0
    if (isThere && errorIfExists) throw new KvError('ERR_KV_EXISTS', 'a store exists already')
    if (!isThere && !createIfMissing) throw new KvError('ERR_KV_NOT_FOUND', 'it does not exist')
    const log = await openSimulated(this.#device)
    return { log, files: new SimulatedFiles(this.#device) }
  }
}

const REAL = { logOptions: { segmentSize: 64 * 1024, idleStampMs: 0 } }

suite({
  test,
  factory: (options: object) => new TestedLevel(join(root, String(count++)), options),
})

test.onFinish(() => rmSync(root, { recursive: true, force: true }))
