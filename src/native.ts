import { endianness } from 'node:os'
import { loadAddonFile } from './addon-file.ts'
import { RiologError } from './errors.ts'

/**
 * Native memory: `id` names it in a ring's requests for as long as `handle` is not collected,
 * `buffer` is JavaScript's first view of it.
 */
export interface NativeMemory {
  /** What requests name it by. */
  readonly id: number
  /** Keeps it alive. */
  readonly handle: object
  /** A view of all of it. */
  readonly buffer: ArrayBuffer
}

export interface TracedSqe {
  /** Entries with one number went to the kernel in one io_uring_enter call. */
  readonly enterCall: number
  readonly opcode: number
  readonly flags: number
  readonly fd: number
  readonly offset: number
  readonly address: number
  readonly length: number
  readonly opFlags: number
  readonly ioprio: number
}

/** native/napi/ring_binding.cpp; numbers that are errnos are negative. */
export interface RingBinding {
  readonly requests: ArrayBuffer
  readonly completions: ArrayBuffer
  readonly sqEntries: number
  readonly cqEntries: number
  /** The most operations in flight. */
  readonly slotCount: number
  readonly setupFlags: number
  readonly features: number
  readonly fd: number
  submit(count: number, look: boolean): number
  flush(): number
  reap(): number
  runTaskWork(): void
  wait(milliseconds: number): number
  cancel(slot: number): void
  recycleBuffers(): void
  holdOpen(wanted: boolean): void
  close(): boolean
  supports(opcode: number): boolean
  makeBufferTable(count: number): number
  registerBuffer(memory: number): number
  unregisterBuffer(index: number): number
  makeFileTable(count: number): number
  setFile(index: number, fd: number): number
  addBufferGroup(count: number, bytesEach: number): number
  removeBufferGroup(group: number): number
  viewOfBufferGroup(group: number): ArrayBuffer | undefined
  setTracing(on: boolean): void
  takeTrace(): TracedSqe[]
  stats(): { inFlight: number; kernelOverflow: number }
}

/** FileCall::Kind in native/core/files.h */
export const DIO_ALIGNMENT = 5
export const GET_FLAGS = 6

/** SocketCall::Kind and ::Option in native/core/sockets.h */
export const SOCKET_CALL = {
  SOCKET: 0,
  BIND: 1,
  LISTEN: 2,
  SET_OPTION: 3,
  GET_OPTION: 4,
  NAME: 5,
  PEER_NAME: 6,
} as const
/** Numbers that native code knows socket options by. */
export const SOCKET_OPTION = {
  reuseAddress: 0,
  reusePort: 1,
  noDelay: 2,
  v6Only: 3,
  receiveBuffer: 4,
  sendBuffer: 5,
  keepAlive: 6,
} as const

/** Words that `BusyPoll` shares with native/napi/busy_poll_binding.cpp. */
export const BUSY_POLL = { wanted: 0, running: 1, words: 2 } as const

export interface BusyPollBinding {
  start(): void
}

export type FileCallback = (result: number) => void

/** What native/napi exports; the order and meaning of arguments stand beside each function there. */
export interface Addon {
  readonly groupHeaderBytes: number
  readonly recordHeaderBytes: number
  readonly crc32cVersion: string
  readonly RingBinding?: new (
    entries: number,
    cqEntries: number,
    setupFlags: number | undefined,
    sqPoll: boolean,
    ioPoll: boolean,
    sqThreadIdleMs: number,
    sqThreadCpu: number,
    onCompletions: (count: number) => void,
  ) => RingBinding
  readonly BusyPoll: new (area: ArrayBuffer, mostMicroseconds: number) => BusyPollBinding
  allocate(bytes: number): NativeMemory | undefined
  viewOf(handle: object): ArrayBuffer
  detach(buffer: ArrayBuffer): void
  liveMemoryCount(): number
  crc32c(seed: number, bytes: Uint8Array, from: number, to: number): number
  copySlices(
    bytes: Uint8Array,
    limit: number,
    offset: number,
    lsn: number,
    source: Uint8Array,
    bounds: Uint32Array,
    count: number,
    lsns: Float64Array,
  ): number
  sealGroup(
    bytes: Uint8Array,
    paddedLength: number,
    saltLow: number,
    saltHigh: number,
    lsn: number,
    previousEnd: number,
    durableLsn: number,
    payloadLength: number,
    recordCount: number,
    batch: number,
    payloadCrc?: number,
  ): boolean
  sealRecords(
    bytes: Uint8Array,
    saltLow: number,
    saltHigh: number,
    lsn: number,
    payloadLength: number,
    recordCount: number,
  ): number
  verifyGroup(
    bytes: Uint8Array,
    offset: number,
    saltLow: number,
    saltHigh: number,
    lsn: number,
    maxGroupBytes: number,
    fields: Float64Array,
  ): number
  readGroupHeader(
    bytes: Uint8Array,
    offset: number,
    saltLow: number,
    saltHigh: number,
    lsn: number,
    maxGroupBytes: number,
    fields: Float64Array,
  ): boolean
  verifyRecord(
    bytes: Uint8Array,
    offset: number,
    saltLow: number,
    saltHigh: number,
    lsn: number,
  ): number
  fileCall(
    kind: number,
    fd: number,
    name: string,
    otherName: string,
    flags: number,
    mode: number,
    callback?: FileCallback,
  ): number
  closeFile(fd: number): number
  /** On libuv's thread pool: writes all, then fdatasync, or RWF_DSYNC; returns a number for it. */
  commit(
    fd: number,
    memory: number,
    memoryOffset: number,
    length: number,
    position: number,
    dsync: boolean,
    callback: (result: number, inSync: boolean) => void,
  ): number
  /** Holds up the thread until it is done; its callback comes all the same, later. */
  awaitCommit(commit: number): { result: number; inSync: boolean }
  /** Linux only, as {@link RingBinding}. */
  socketCall(kind: number, fd: number, a: number, b: number, address?: Uint8Array): number
  parseAddress(text: string, out: Uint8Array): number
  formatAddress(bytes: Uint8Array): string
}

let loaded: Addon | undefined

/**
 * The native addon, loaded on first use so that importing riolog never throws.
 * @throws ERR_RIOLOG_NO_ADDON when there is none for this platform
 */
export function addon(): Addon {
  loaded ??= load()
  return loaded
}

function load(): Addon {
  if (endianness() !== 'LE') {
    throw new RiologError('ERR_RIOLOG_NO_ADDON', 'riolog needs a little-endian CPU')
  }
  return loadAddonFile() as Addon
}

/**
 * Zeroed memory that the kernel may read and write, aligned to 64 KiB.
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function allocate(bytes: number): NativeMemory {
  const memory = addon().allocate(bytes)
  if (memory === undefined) {
    throw new RiologError('ERR_RIOLOG_OUT_OF_MEMORY', `no memory for ${bytes} aligned bytes`)
  }
  return memory
}
