/** What killed writers tell of their writes. */
export const KEYS = 8

export interface Change {
  readonly key: string
  readonly id: string
  /** Of what stands behind the id in the value; below 0: the key is deleted. */
  readonly length: number
}

export interface Report {
  readonly caller: number
  /** Of a write that begins; without, the caller's last one is acknowledged. */
  readonly begun?: readonly Change[]
}

export function writtenValue({ id, length }: Change): string | undefined {
  if (length < 0) return undefined
  return `${id} ${'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(length / 26)).slice(0, length)}`
}
