import { Store, type StoreOptions } from '../../examples/kv/src/index.ts'
import type { SimulatedDevice } from '../../src/disk/simulated.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { openSimulated } from '../support/simulated.ts'
import { SimulatedFiles } from './simulated-files.ts'

/** A store on a simulated device, its log in segments of 64 KiB. */
export async function openStore(
  device: SimulatedDevice,
  options: StoreOptions = {},
  logOptions: LogOptions = {},
): Promise<Store> {
  const log = await openSimulated(device, logOptions)
  return Store.open('simulated', { log, files: new SimulatedFiles(device), ...options })
}

export function put(store: Store, key: string, value: string | Buffer, sync = true): Promise<void> {
  const operation = { type: 'put', key, value: Buffer.from(value) } as const
  return store.write([operation], sync)
}

export function del(store: Store, key: string): Promise<void> {
  return store.write([{ type: 'del', key }], true)
}

export async function get(store: Store, key: string): Promise<string | undefined> {
  const value = store.map.get(key)
  return value && String(await store.load(value))
}

export async function contentOf(store: Store): Promise<Map<string, string>> {
  const content = new Map<string, string>()
  const view = store.view()
  const cursor = view.map.cursor()
  for (let entry = cursor.next(); entry !== undefined; entry = cursor.next()) {
    content.set(entry[0], String(await store.load(entry[1])))
  }
  view.close()
  return content
}

export function checkpointsOn(device: SimulatedDevice): string[] {
  return device.names().filter(name => name.startsWith('checkpoint'))
}
