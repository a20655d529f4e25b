/**
 * A disk in memory that keeps what a device with a volatile cache may keep: bytes, sizes and names
 * are durable only once synced, and when the power is cut any subset of the rest survives. Faults can
 * be injected at each operation. It has one directory.
 */
import { SystemError } from '../errors.ts'
import { MIN_ALIGNMENT, SECTOR_BYTES } from '../segment/format.ts'
import type { Disk, DiskBuffer, DiskDirectory, DiskFile, OpenHow, SyncMode } from './disk.ts'

const ENOENT = -2
const EIO = -5
const EEXIST = -17
const EINVAL = -22
const ENOSPC = -28

export type OperationKind =
  | 'open'
  | 'read'
  | 'write'
  | 'sync'
  | 'unlink'
  | 'rename'
  | 'syncDirectory'
  | 'list'

/** What is about to happen, for whoever injects faults or cuts the power. */
export interface SimulatedOperation {
  readonly kind: OperationKind
  readonly name: string
  readonly position: number
  readonly length: number
  /** Counts all operations of the device. */
  readonly index: number
}

/** An error to fail with (nothing has happened then), or undefined to go on. */
export type Interference = (operation: SimulatedOperation) => Error | undefined

interface Inode {
  /** What reads see: the cache over the medium. */
  visible: Uint8Array
  /** What is on the medium for certain. */
  durable: Uint8Array
  /** Sectors written since they were last synced. */
  readonly dirty: Set<number>
  locked: boolean
}

interface NameChange {
  readonly name: string
  /** Of a rename, which is in force as a whole or not at all (rename(2)). */
  readonly oldName?: string
  readonly inode: Inode | undefined
}

/** Decides what survives a power cut: true, and the newer state does. */
export type Survival = () => boolean

/** What a power cut leaves of a sector that was written and not synced. */
export type SectorFate = 'old' | 'new' | 'zeros' | 'garbage'

/** Decides all that a power cut leaves open. */
export interface Outcome {
  /** Of names and of sizes. */
  readonly survives: Survival
  /** Asked once for each unsynced sector, in the order of the files and then of the writes. */
  readonly fate: () => SectorFate
  /** The byte that a sector of fate `garbage` has at the next place; 0 to 255. */
  readonly garbage: () => number
  /** What the device writes at once: 512 or 4096; 512 unless told. */
  readonly sectorBytes?: 512 | 4096
}

export class PowerCut extends Error {
  constructor() {
    super('the power is cut')
  }
}

export class SimulatedDevice {
  interference: Interference | undefined
  /** The most bytes that all files may have together; ENOSPC beyond. */
  capacityBytes = Number.POSITIVE_INFINITY
  #operations = 0
  #off = false
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #nameChanges: NameChange[] = []

  get operations(): number {
    return this.#operations
  }

  get isOff(): boolean {
    return this.#off
  }

  /** From now on no operation completes: whoever waits for one waits for ever. */
  cutPower(): void {
    this.#off = true
  }

  /** What a new start finds: a device of its own, so that the old one can be asked again. */
  afterPowerCut(outcome: Survival | Outcome): SimulatedDevice {
    const decided = typeof outcome === 'function' ? oldOrNew(outcome) : outcome
    const { survives } = decided
    const names = new Map(this.#durableNames)
    for (const { name, oldName, inode } of this.#nameChanges) {
      if (!survives()) continue
      if (oldName !== undefined) names.delete(oldName)
      if (inode === undefined) names.delete(name)
      else names.set(name, inode)
    }
    return this.#successor(names, names, [], inode => survivor(inode, decided))
  }

  /** The process was killed: what it wrote stays in the cache, still not durable; its locks are gone. */
  afterKill(): SimulatedDevice {
    return this.#successor(this.#names, this.#durableNames, this.#nameChanges, inode => ({
      visible: inode.visible.slice(),
      durable: inode.durable.slice(),
      dirty: new Set(inode.dirty),
      locked: false,
    }))
  }

  #successor(
    names: ReadonlyMap<string, Inode>,
    durableNames: ReadonlyMap<string, Inode>,
    nameChanges: readonly NameChange[],
    copy: (inode: Inode) => Inode,
  ): SimulatedDevice {
    this.#off = true
    const copies = new Map<Inode, Inode>()
    const copyOnce = (inode: Inode): Inode => {
      const made = copies.get(inode) ?? copy(inode)
      copies.set(inode, made)
      return made
    }
    const next = new SimulatedDevice()
    for (const [name, inode] of names) next.#names.set(name, copyOnce(inode))
    for (const [name, inode] of durableNames) next.#durableNames.set(name, copyOnce(inode))
    next.#nameChanges = nameChanges.map(change => ({
      ...change,
      inode: change.inode && copyOnce(change.inode),
    }))
    return next
  }

  /** The bytes of a file as reads see them; for tests that look or damage. */
  bytesOf(name: string): Uint8Array {
    const inode = this.#names.get(name)
    if (inode === undefined) throw new SystemError(ENOENT, 'open', name)
    return inode.visible
  }

  names(): string[] {
    return [...this.#names.keys()].sort()
  }

  /** Changes the medium behind everybody's back. */
  damage(name: string, change: (bytes: Uint8Array) => Uint8Array | undefined): void {
    const inode = this.#names.get(name)
    if (inode === undefined) throw new SystemError(ENOENT, 'open', name)
    const changed = change(inode.visible)
    if (changed !== undefined) inode.visible = changed
    inode.durable = inode.visible.slice()
  }

  putFile(name: string, bytes: Uint8Array): void {
    const inode = { visible: bytes.slice(), durable: bytes.slice(), dirty: new Set<number>() }
    this.#names.set(name, { ...inode, locked: false })
    this.#durableNames = new Map(this.#names)
  }

  removeFile(name: string): void {
    this.#names.delete(name)
    this.#durableNames.delete(name)
  }

  /** @throws PowerCut, or what the interference says */
  enter(kind: OperationKind, name: string, position = 0, length = 0): void {
    if (this.#off) throw new PowerCut()
    const index = this.#operations++
    const error = this.interference?.({ kind, name, position, length, index })
    if (this.#off) throw new PowerCut()
    if (error !== undefined) throw error
  }

  open(name: string, how: OpenHow): Inode {
    const found = this.#names.get(name)
    if (found !== undefined) {
      if (how === 'createNew') throw new SystemError(EEXIST, 'openat', name)
      return found
    }
    if (how === 'read' || how === 'write') throw new SystemError(ENOENT, 'openat', name)
    const made: Inode = {
      visible: new Uint8Array(),
      durable: new Uint8Array(),
      dirty: new Set(),
      locked: false,
    }
    this.#names.set(name, made)
    this.#nameChanges.push({ name, inode: made })
    return made
  }

  lookUp(name: string): Inode | undefined {
    return this.#names.get(name)
  }

  unlink(name: string): void {
    if (!this.#names.delete(name)) throw new SystemError(ENOENT, 'unlinkat', name)
    this.#nameChanges.push({ name, inode: undefined })
  }

  rename(oldName: string, name: string): void {
    const inode = this.#names.get(oldName)
    if (inode === undefined) throw new SystemError(ENOENT, 'renameat', oldName)
    this.#names.delete(oldName)
    this.#names.set(name, inode)
    this.#nameChanges.push({ name, oldName, inode })
  }

  syncNames(): void {
    this.#durableNames = new Map(this.#names)
    this.#nameChanges = []
  }

  write(inode: Inode, bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    if (end > inode.visible.length) {
      const used = [...this.#names.values()].reduce((sum, { visible }) => sum + visible.length, 0)
      if (used - inode.visible.length + end > this.capacityBytes) {
        throw new SystemError(ENOSPC, 'write')
      }
      const grown = new Uint8Array(end)
      grown.set(inode.visible)
      inode.visible = grown
    }
    inode.visible.set(bytes, position)
    for (let at = position; at < end; at += SECTOR_BYTES) inode.dirty.add(at / SECTOR_BYTES)
  }

  /** Of a range, where one is given: its bytes and the file's length. */
  sync(inode: Inode, from = 0, length = Number.POSITIVE_INFINITY): void {
    if (inode.durable.length !== inode.visible.length) {
      const resized = new Uint8Array(inode.visible.length)
      resized.set(inode.durable.subarray(0, resized.length))
      inode.durable = resized
    }
    for (const sector of inode.dirty) {
      const at = sector * SECTOR_BYTES
      if (at < from || at >= from + length) continue
      copySector(inode.visible, inode.durable, sector)
      inode.dirty.delete(sector)
    }
  }
}

function copySector(from: Uint8Array, to: Uint8Array, sector: number): void {
  const at = sector * SECTOR_BYTES
  to.set(from.subarray(at, at + SECTOR_BYTES), at)
}

function oldOrNew(survives: Survival): Outcome {
  return { survives, fate: () => (survives() ? 'new' : 'old'), garbage: () => 0 }
}

function survivor(inode: Inode, outcome: Outcome): Inode {
  const size = outcome.survives() ? inode.visible.length : inode.durable.length
  const bytes = new Uint8Array(size)
  bytes.set(inode.durable.subarray(0, size))
  const fates = new Map<number, SectorFate>()
  const sectorsAtOnce = (outcome.sectorBytes ?? SECTOR_BYTES) / SECTOR_BYTES
  for (const sector of inode.dirty) {
    if (sector * SECTOR_BYTES >= size) continue
    const unit = Math.floor(sector / sectorsAtOnce)
    const fate = fates.get(unit) ?? outcome.fate()
    fates.set(unit, fate)
    leaveSector(inode, bytes, sector, fate, outcome.garbage)
  }
  return { visible: bytes, durable: bytes.slice(), dirty: new Set(), locked: false }
}

function leaveSector(
  inode: Inode,
  bytes: Uint8Array,
  sector: number,
  fate: SectorFate,
  garbage: () => number,
): void {
  const at = sector * SECTOR_BYTES
  const left = bytes.subarray(at, at + SECTOR_BYTES)
  if (fate === 'new') left.set(inode.visible.subarray(at, at + left.length))
  else if (fate === 'zeros') left.fill(0)
  else if (fate === 'garbage') for (let i = 0; i < left.length; i++) left[i] = garbage()
}

export class SimulatedDisk implements Disk {
  readonly engine = 'simulated'
  readonly device: SimulatedDevice

  constructor(device: SimulatedDevice) {
    this.device = device
  }

  async openDirectory(path: string): Promise<DiskDirectory> {
    return new SimulatedDirectory(this.device, path)
  }

  /** In another turn: by a timer, the same seed would come to other runs. */
  async pause(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
  }

  async close(): Promise<void> {}
}

/** Completes in a later turn of the event loop, as a device does; never once the power is cut. */
function later<T>(device: SimulatedDevice, run: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        const result = run()
        if (!device.isOff) setImmediate(() => device.isOff || resolve(result))
      } catch (error) {
        if (!(error instanceof PowerCut)) reject(error)
      }
    })
  })
}

class SimulatedDirectory implements DiskDirectory {
  readonly path: string
  readonly #device: SimulatedDevice

  constructor(device: SimulatedDevice, path: string) {
    this.#device = device
    this.path = path
  }

  list(): Promise<string[]> {
    return later(this.#device, () => {
      this.#device.enter('list', '')
      return this.#device.names()
    })
  }

  open(name: string, how: OpenHow): Promise<DiskFile> {
    return later(this.#device, () => {
      this.#device.enter('open', name)
      return new SimulatedFile(this.#device, this.#device.open(name, how), name)
    })
  }

  async openScratch(): Promise<undefined> {}

  unlink(name: string): Promise<void> {
    return later(this.#device, () => {
      this.#device.enter('unlink', name)
      this.#device.unlink(name)
    })
  }

  rename(file: DiskFile, name: string): Promise<void> {
    return later(this.#device, () => {
      this.#device.enter('rename', file.name)
      this.#device.rename(file.name, name)
      ;(file as SimulatedFile).name = name
    })
  }

  sync(): Promise<void> {
    return later(this.#device, () => this.syncBlocking())
  }

  syncBlocking(): void {
    this.#device.enter('syncDirectory', '')
    this.#device.syncNames()
  }

  async syncParent(): Promise<void> {}

  close(): void {}
}

class SimulatedFile implements DiskFile {
  name: string
  readonly direct = true
  readonly #device: SimulatedDevice
  readonly #inode: Inode
  #hasLock = false
  /** Finish what is left of a commit at once. */
  readonly #commits: (() => void)[] = []

  constructor(device: SimulatedDevice, inode: Inode, name: string) {
    this.#device = device
    this.#inode = inode
    this.name = name
  }

  size(): number {
    return this.#inode.visible.length
  }

  alignment(): number {
    return MIN_ALIGNMENT
  }

  tryLock(): boolean {
    if (this.#inode.locked) return this.#hasLock
    this.#inode.locked = true
    this.#hasLock = true
    return true
  }

  lockHolder(): number | undefined {
    return this.#inode.locked ? process.pid : undefined
  }

  isNamed(): boolean {
    return this.#device.lookUp(this.name) === this.#inode
  }

  links(): number {
    return 1
  }

  async forgetCache(): Promise<void> {}

  read(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<number> {
    return later(this.#device, () => {
      checkDirect(buffer, offset, length, position)
      this.#device.enter('read', this.name, position, length)
      const bytes = this.#inode.visible.subarray(position, position + length)
      buffer.bytes.set(bytes, offset)
      return bytes.length
    })
  }

  write(buffer: DiskBuffer, offset: number, length: number, position: number): Promise<void> {
    return later(this.#device, () => this.writeBlocking(buffer, offset, length, position))
  }

  writeBlocking(buffer: DiskBuffer, offset: number, length: number, position: number): void {
    checkDirect(buffer, offset, length, position)
    this.#device.enter('write', this.name, position, length)
    this.#device.write(this.#inode, buffer.bytes.subarray(offset, offset + length), position)
  }

  sync(): Promise<void> {
    return later(this.#device, () => this.syncBlocking())
  }

  syncBlocking(): void {
    try {
      this.#device.enter('sync', this.name)
    } catch (error) {
      // A failed write-back leaves pages clean that the disk does not have (fsyncgate): a second sync
      // would come back good.
      if (!(error instanceof PowerCut)) this.#inode.dirty.clear()
      throw error
    }
    this.#device.sync(this.#inode)
  }

  commit(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    position: number,
    sync: SyncMode,
    done: (error: Error | undefined) => void,
  ): void {
    const steps = [
      () => this.writeBlocking(buffer, offset, length, position),
      () => this.#syncCommitted(sync, position, length),
    ]
    const finish = (error?: Error) => {
      const at = this.#commits.indexOf(finishNow)
      if (at < 0) return
      this.#commits.splice(at, 1)
      done(error)
    }
    const finishNow = () => {
      try {
        while (steps.length > 0) steps.shift()!()
      } catch (error) {
        // Nothing completes any more, so whoever waits must not go on as if it had.
        if (error instanceof PowerCut) throw error
        return finish(error as Error)
      }
      finish()
    }
    this.#commits.push(finishNow)
    const step = () => later(this.#device, () => steps.shift()?.())
    step()
      .then(step)
      .then(() => finish(), finish)
  }

  waitForCommit(): void {
    this.#commits[0]()
  }

  #syncCommitted(sync: SyncMode, position: number, length: number): void {
    if (sync === 'fdatasync') this.syncBlocking()
    else {
      this.#device.enter('sync', this.name, position, length)
      this.#device.sync(this.#inode, position, length)
    }
  }

  close(): void {
    if (this.#hasLock) this.#inode.locked = false
  }
}

/** As strict as O_DIRECT on the strictest device that riolog takes by default. */
function checkDirect(buffer: DiskBuffer, offset: number, length: number, position: number): void {
  const aligned = [offset, length, position].every(value => value % MIN_ALIGNMENT === 0)
  if (!aligned || offset + length > buffer.bytes.length) throw new SystemError(EINVAL, 'io')
}

/** An error for an {@link Interference} to fail with. */
export function ioError(syscall = 'fdatasync'): SystemError {
  return new SystemError(EIO, syscall)
}
