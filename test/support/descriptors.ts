import { readdirSync, readlinkSync } from 'node:fs'

/**
 * How many descriptors this process has open. That of TypeScript's loader does not count: from time to time it looks
 * for old files in its cache, and lets go of that folder whenever it is done.
 */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').filter(fd => !isOfTheLoader(fd)).length
}

function isOfTheLoader(fd: string): boolean {
  try {
    return /\/tsx-\d+$/.test(readlinkSync(`/proc/self/fd/${fd}`))
  } catch {
    // The one that listed the others is closed by now; it counts each time.
    return false
  }
}
