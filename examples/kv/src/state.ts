/**
 * What the records of a log come to. Records go through `apply` in the order of their LSNs, the same when
 * they are written and when they are replayed: so an opening finds what the process before it had.
 */
import { OrderedMap } from './ordered-map.ts'
import { decodeBatch, type Operation } from './record.ts'
import { isStored, type Value } from './value.ts'

export interface State {
  readonly map: OrderedMap<Value>
  /** The records before this LSN are in the map, and no others. */
  lsn: number
}

export function nothing(): State {
  return { map: new OrderedMap<Value>(), lsn: 0 }
}

/** What it is now, and stays. */
export function snapshotOf({ map, lsn }: State): State {
  return { map: map.snapshot(), lsn }
}

/**
 * @param record the state's from now on: values may be views of it
 * @param largeBytes a value of so many bytes or more is left in the log
 */
export function apply(state: State, lsn: number, record: Buffer, largeBytes: number): void {
  const { map } = state
  decodeBatch(record, (operation, offset) => {
    if (operation.type === 'del') map.delete(operation.key)
    else if (operation.type === 'put' || isMoved(map, operation)) {
      const { key, value } = operation
      const { length } = value
      if (length >= largeBytes) map.set(key, { lsn, offset, length })
      // A view keeps the record in memory for as long as it lives: only where the value is most of it.
      else map.set(key, 2 * length > record.length ? value : Buffer.from(value))
    }
  })
  // An LSN is a place, so the next record is at the next number or behind it.
  state.lsn = lsn + 1
}

function isMoved(map: OrderedMap<Value>, { key, from }: Operation & { type: 'move' }): boolean {
  const value = map.get(key)
  return isStored(value) && value.lsn === from
}
