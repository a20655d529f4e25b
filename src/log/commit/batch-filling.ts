/** Copies the records of a batch into its groups, as {@link layOut} has laid them out. */
import { RECORD_CONTINUATION, RECORD_GOES_ON } from '../../segment/group.ts'
import type { Packed } from '../records/codec.ts'
import { ownBytes, type Payload, viewOf } from '../records/payload.ts'
import type { Cut } from './batch-layout.ts'

/**
 * Copies records, from one place among them to another; adds the LSNs of those that begin.
 * @param add takes a record, or a fragment of one, with its RECORD_* flags
 */
export function fillGroup(
  records: readonly Packed[],
  from: Cut,
  end: Cut,
  lsns: number[],
  add: (bytes: Payload, length: number, flags: number) => number,
): void {
  let { record, byte } = from
  while (record < end.record || byte < (record === end.record ? end.byte : 0)) {
    const { bytes, length, flags } = records[record]
    const to = record === end.record ? end.byte : length
    const goesOn = to < length ? RECORD_GOES_ON : 0
    const continues = byte > 0 ? RECORD_CONTINUATION : 0
    const lsn = add(
      ownBytes(viewOf(bytes).subarray(byte, to)),
      to - byte,
      flags | goesOn | continues,
    )
    if (byte === 0) lsns.push(lsn)
    if (goesOn !== 0) return
    record++
    byte = 0
  }
}
