/** What a simulated device keeps of writes that were not synced when the power was cut. */
import t from 'tap'
import { type SectorFate, SimulatedDevice } from '../../src/disk/simulated.ts'

const FATES: readonly SectorFate[] = ['new', 'old', 'zeros', 'garbage']
const OLD = 1
const NEW = 2
const GARBAGE = 0xa5

function afterCut(fates: readonly SectorFate[], sectorBytes: 512 | 4096, synced = false) {
  const device = new SimulatedDevice()
  const length = fates.length * sectorBytes
  device.putFile('a', new Uint8Array(length).fill(OLD))
  const inode = device.open('a', 'write')
  device.write(inode, new Uint8Array(length).fill(NEW), 0)
  if (synced) device.sync(inode)
  let asked = 0
  const next = device.afterPowerCut({
    survives: () => true,
    fate: () => fates[asked++],
    garbage: () => GARBAGE,
    sectorBytes,
  })
  const bytes = next.bytesOf('a')
  const sectors = fates.map((_, i) => [
    ...new Set(bytes.subarray(i * sectorBytes, (i + 1) * sectorBytes)),
  ])
  return { asked, sectors }
}

for (const sectorBytes of [512, 4096] as const) {
  t.test(`each unsynced sector of ${sectorBytes} bytes has a fate of its own`, async t => {
    const { asked, sectors } = afterCut(FATES, sectorBytes)
    t.equal(asked, FATES.length, 'asked once for each sector')
    t.strictSame(sectors, [[NEW], [OLD], [0], [GARBAGE]])
  })
  t.test(`what is synced has no other fate (${sectorBytes})`, async t => {
    const { asked, sectors } = afterCut(FATES, sectorBytes, true)
    t.equal(asked, 0)
    t.strictSame(sectors, [[NEW], [NEW], [NEW], [NEW]])
  })
}
