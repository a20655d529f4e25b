/** Who is refused for want of the next segment, and tries again instead of waiting in line. */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import type { RiologError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { but } from '../../support/simulated.ts'

const SEGMENT = 4 << 20

t.test('the segment is made without pauses from then on', async t => {
  const simulated = new SimulatedDisk(new SimulatedDevice())
  let pauses = 0
  let goOn: (() => void) | undefined
  const pause = () => {
    pauses++
    return new Promise<void>(resolve => (goOn = resolve))
  }
  const log = await Log.openOn(
    but(simulated, { pause }),
    '/',
    checkOptions({ segmentSize: SEGMENT, zeroedSegments: 0 }),
  )
  // Past a quarter of the file the next one is begun; the first of its pauses is not over.
  await log.appendDurable(Buffer.alloc(1 << 20))
  await log.appendDurable(Buffer.alloc(1 << 20))
  while (goOn === undefined) await new Promise(resolve => setImmediate(resolve))
  t.equal(pauses, 1)

  const refused = () => {
    try {
      log.append(Buffer.alloc(100_000))
      return undefined
    } catch (error) {
      return (error as RiologError).code
    }
  }
  let code: string | undefined
  while (code === undefined) {
    code = refused()
    if (code === undefined) await log.flush()
  }
  t.equal(code, 'ERR_RIOLOG_BACKPRESSURE')
  goOn()
  while (refused() !== undefined) await new Promise(resolve => setImmediate(resolve))
  t.equal(pauses, 1, 'nobody else was let go first')
  await log.close()
})
