/** What the tests of replication share: a copy on a simulated device, and one that follows its source. */
import { type SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { type Log, Replica } from '../../src/index.ts'
import { checkReplicaOptions } from '../../src/log/options.ts'

export function openReplica(device: SimulatedDevice): Promise<Replica> {
  return Replica.openOn(new SimulatedDisk(device), 'simulated', checkReplicaOptions({}))
}

/** Brings a copy to where its source is. Each chunk goes over a wire. */
export async function follow(
  source: Log,
  replica: Replica,
  chunkBytes: () => number = () => 1 << 20,
): Promise<void> {
  for (;;) {
    const { end, hash } = replica
    const chunk = await source.readRaw(end, { maxBytes: chunkBytes(), hash })
    if (chunk === undefined) return
    const reached = await replica.apply(structuredClone(chunk))
    if (reached !== chunk.end) throw new Error(`a chunk up to ${chunk.end} came to ${reached}`)
  }
}

/** One line a record, to compare. */
export const linesOf = (records: readonly { lsn: number; data: Buffer }[]) =>
  records.map(({ lsn, data }) => `${lsn} ${data.toString('base64')}`)
