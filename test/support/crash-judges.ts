/** Judges of what a power cut has left of a log. */
import type { SimulatedDevice } from '../../src/disk/simulated.ts'
import type { LogOptions } from '../../src/log/options.ts'
import type { Judge } from './crash-steps.ts'
import { type Oracle, payloadOf } from './oracle.ts'
import { openSimulated, recordsOf } from './simulated.ts'

/** What is acknowledged is found, readers see no more than that, and the log goes on behind all of it. */
export function judgeOfLog(oracle: Oracle, options: LogOptions = {}): Judge {
  const open = (device: SimulatedDevice) => openSimulated(device, { ...options, idleStampMs: 0 })
  return {
    open,
    async whole(image) {
      const handedOut = Math.max(0, ...oracle.pendingLsns(), ...oracle.acknowledgedLsns())
      const shown = await shownBeside(image.afterKill(), options)
      const log = await open(image.afterKill())
      const found = await recordsOf(log)
      const wrong = oracle.copy().judge(found)
      const lsns = new Set(found.map(({ lsn }) => lsn))
      if (shown.some(lsn => !lsns.has(lsn))) wrong.push('a reader was shown what is not there')
      const data = payloadOf(-1, 20)
      const lsn = await log.appendDurable(data)
      if (lsn <= handedOut) wrong.push(`LSN ${lsn} was handed out before`)
      if (!(await log.read(lsn)).equals(data)) wrong.push(`LSN ${lsn} reads as something else`)
      await log.close()
      return wrong
    },
    async again(image) {
      return oracle.copy().judge(await recordsOf(await open(image)))
    },
  }
}

/** What a read-only opening shows, before anybody has opened the log for writing. */
async function shownBeside(device: SimulatedDevice, options: LogOptions): Promise<number[]> {
  try {
    const reader = await openSimulated(device, { ...options, readOnly: true })
    const shown = (await recordsOf(reader)).map(({ lsn }) => lsn)
    await reader.close()
    return shown
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_RIOLOG_NO_LOG') return []
    throw error
  }
}
