/**
 * What was appended and what was acknowledged, kept outside the log: the judge of a recovery.
 */
import { createHash } from 'node:crypto'

const ID_BYTES = 8

/** A payload of `bytes` that tells which append it was; short ones carry as much of it as fits. */
export function payloadOf(id: number, bytes: number): Buffer {
  const payload = Buffer.alloc(bytes)
  const seed = createHash('sha256').update(String(id)).digest()
  for (let at = 0; at < bytes; at += seed.length) seed.copy(payload, at)
  if (bytes >= ID_BYTES) payload.writeDoubleLE(id)
  return payload
}

interface Appended {
  readonly lsn: number
  readonly data: Buffer
  acknowledged: boolean
}

export class Oracle {
  readonly #appended = new Map<number, Appended>()

  appended(lsn: number, data: Buffer): void {
    if (this.#appended.has(lsn)) throw new Error(`LSN ${lsn} was handed out twice`)
    this.#appended.set(lsn, { lsn, data, acknowledged: false })
  }

  acknowledged(lsn: number): void {
    const record = this.#appended.get(lsn)
    if (record === undefined) throw new Error(`LSN ${lsn} was acknowledged and never appended`)
    record.acknowledged = true
  }

  pendingLsns(): number[] {
    return [...this.#appended.values()].filter(r => !r.acknowledged).map(r => r.lsn)
  }

  get acknowledgedCount(): number {
    return [...this.#appended.values()].filter(record => record.acknowledged).length
  }

  /**
   * Holds what a reopened log shows against what happened; returns what is wrong. Afterwards the
   * records found are what every later opening must find.
   */
  judge(found: readonly { lsn: number; data: Buffer }[]): string[] {
    const wrong: string[] = []
    const expected = [...this.#appended.values()].sort((a, b) => a.lsn - b.lsn)
    found.forEach((record, index) => {
      const want = expected[index]
      if (want === undefined) wrong.push(`LSN ${record.lsn} was never appended`)
      else if (want.lsn !== record.lsn) wrong.push(`found LSN ${record.lsn} before ${want.lsn}`)
      else if (!want.data.equals(record.data)) wrong.push(`LSN ${record.lsn} has other bytes`)
    })
    for (const lost of expected.slice(found.length)) {
      if (lost.acknowledged) wrong.push(`LSN ${lost.lsn} was acknowledged and is lost`)
      this.#appended.delete(lost.lsn)
    }
    for (const kept of this.#appended.values()) kept.acknowledged = true
    return wrong
  }
}
