/** The values of options, read strictly: what is not clearly meant is refused, never guessed. */
import { InvalidArgumentError } from 'commander'

const UNIT_BYTES: Record<string, number> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** `4096`, `64KiB`, `64M`: units are powers of two, and `MB`, which may mean another, is refused. */
export function parseBytes(text: string): number {
  const [, digits, unit] = /^(\d+)\s*(b|(?:[kmg](?:ib)?)?)$/i.exec(text) ?? []
  const bytes = Number(digits) * UNIT_BYTES[unit?.[0]?.toLowerCase() ?? '']
  if (Number.isSafeInteger(bytes)) return bytes
  throw new InvalidArgumentError('A size is a whole number of bytes, KiB, MiB or GiB, e.g. 64MiB.')
}

export function parseLsn(text: string): number {
  const lsn = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(lsn)) return lsn
  throw new InvalidArgumentError('An LSN is a whole number of 0 or more.')
}

/** A whole number of 1 or more. */
export function parseCount(text: string): number {
  const count = wholeNumber(text)
  if (count >= 1) return count
  throw new InvalidArgumentError('A count is a whole number of 1 or more.')
}

/** A whole number that 31 bits hold. */
export function parseSeed(text: string): number {
  const seed = wholeNumber(text)
  if (seed <= 0x7fffffff) return seed
  throw new InvalidArgumentError('A seed is a whole number from 0 to 2147483647.')
}

function wholeNumber(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
}
