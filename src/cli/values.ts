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
