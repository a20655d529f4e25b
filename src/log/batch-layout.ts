/** Where the groups of a batch stand that is longer than one group. Numbers in, numbers out. */
import { alignUp, GROUP_HEADER_BYTES } from '../segment/format.ts'

export interface Room {
  readonly alignment: number
  /** The longest group, unless a single record is longer; in bytes, as all of these. */
  readonly groupLimit: number
  /** From the end of the log to that of its segment's file. */
  readonly roomLeft: number
  /** In the segment that comes next, behind its header block; not above 0 without one. */
  readonly nextRoom: number
}

export interface BatchLayout {
  /** How many records each group holds. */
  readonly groups: readonly number[]
  /** The group that begins the next segment; -1: none. */
  readonly rotatesBefore: number
}

/** Fills group after group; undefined when that does not fit. @param spans bytes of each record */
export function layOut(spans: readonly number[], room: Room): BatchLayout | undefined {
  const groups: number[] = []
  let rotatesBefore = -1
  let left = room.roomLeft
  for (let at = 0; at < spans.length; ) {
    let most = Math.min(left, Math.max(room.groupLimit, GROUP_HEADER_BYTES + spans[at]))
    if (GROUP_HEADER_BYTES + spans[at] > most) {
      if (rotatesBefore >= 0) return undefined
      rotatesBefore = groups.length
      left = room.nextRoom
      most = Math.min(left, Math.max(room.groupLimit, GROUP_HEADER_BYTES + spans[at]))
      if (GROUP_HEADER_BYTES + spans[at] > most) return undefined
    }
    let bytes = GROUP_HEADER_BYTES
    let count = 0
    while (at < spans.length && bytes + spans[at] <= most) {
      bytes += spans[at++]
      count++
    }
    groups.push(count)
    left -= alignUp(bytes, room.alignment)
  }
  return { groups, rotatesBefore }
}
