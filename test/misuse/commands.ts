/** What a random program does, one step each. Every command takes three numbers to choose by. */
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Completion,
  IoBuffer,
  type OperationOptions,
  Ring,
  type RingFile,
} from '../../src/ring/index.ts'
import {
  attempt,
  byteAt,
  contentOf,
  FILE_BYTES,
  type Owned,
  refused,
  violations,
  type World,
} from './world.ts'

export type Command = (world: World, a: number, b: number, c: number) => unknown

const pick = <T>(all: readonly T[], by: number): T => all[by % all.length]
const DEPTHS = [1, 2, 4, 16, 64]
export const depthOf = (by: number) => pick(DEPTHS, by)

function owned({ owned }: World, by: number): Owned {
  if (owned.length > 12) owned.splice(by % owned.length, 1)
  if (owned.length < 3 || by % 4 === 0) {
    owned.push({ buffer: IoBuffer.alloc(1 + (by % (by % 7 === 0 ? 400_000 : 9000))), uses: 0 })
    return owned[owned.length - 1]
  }
  return pick(owned, by)
}

const bufferOf = (world: World, by: number) => owned(world, by).buffer

/** Small ones, and now and then one for which the pool has no class. */
const arrayOf = (by: number) => new Uint8Array(by % 97 === 0 ? 1_100_000 : by % 20_000)

function optionsOf(world: World, by: number): OperationOptions | undefined {
  switch (by % 11) {
    case 0:
      return {}
    case 1:
    case 2:
      return { deadlineMs: 1 + (by % 5) }
    case 3:
      return { ordering: 'drain' }
    case 4:
      return { async: true }
    case 5: {
      const aborting = new AbortController()
      world.aborts.push(aborting)
      return { signal: aborting.signal }
    }
    default:
      return undefined
  }
}

function transferAway(array: Uint8Array): void {
  structuredClone(array, { transfer: [array.buffer as ArrayBuffer] })
}

function checkBytes(file: number, offset: number, bytes: Uint8Array, count: number): void {
  for (let i = 0; i < count; i++) {
    if (bytes[i] !== byteAt(file, offset + i))
      return void violations.push(`byte ${offset + i} of file ${file} is ${bytes[i]}`)
  }
}

/** A read of a file of known content, into a buffer or an array. */
function read(world: World, a: number, b: number, c: number): void {
  const file = a % 2
  const offset = b % FILE_BYTES
  const options = optionsOf(world, c)
  const { ring, places } = world
  if (a % 3 === 0) {
    const array = arrayOf(b + c)
    world.keep(
      'read',
      attempt('read', () => ring.readAt(places.files[file], array, offset, options)),
      count => checkBytes(file, offset, array, count),
    )
    return
  }
  const mine = owned(world, b)
  const completion = attempt('read', () =>
    ring.readAt(places.files[file], mine.buffer, offset, options),
  )
  const use = ++mine.uses
  world.keep('read', completion, count => {
    if (mine.uses !== use || mine.buffer.lent) return // somebody else has it by now
    checkBytes(file, offset, mine.buffer.bytes, count)
  })
}

function write(world: World, a: number, b: number, c: number): void {
  const bytes = a % 2 === 0 ? bufferOf(world, b) : arrayOf(b)
  const call = () => world.ring.writeAt(world.places.scratch, bytes, b % 1e5, optionsOf(world, c))
  world.keep('write', attempt('write', call))
  if (bytes instanceof Uint8Array) bytes.fill(1)
}

/** What is written is what is read, also when others use the pool meanwhile. */
function echo(world: World, a: number, b: number): void {
  const { scratch } = world.places
  const at = world.ownPlace()
  const length = 1 + (b % 9000)
  const bytes = contentOf(a % 2, at, length)
  const into = new Uint8Array(length)
  const chain = () =>
    world.ring.chain().writeAt(scratch, bytes, at).readAt(scratch, into, at).submit()
  const completion = attempt('echo', chain)
  bytes.fill(0)
  world.keep('echo', completion, () => checkBytes(a % 2, at, into, length))
}

function stay(world: World, a: number, b: number, c: number): void {
  const { ring, places } = world
  const options = optionsOf(world, c)
  const call = pick(
    [
      () => ring.readAt(places.fifo, bufferOf(world, b), 0, options),
      () => ring.poll(places.fifo, 1, options),
      () => ring.timeout(1 + (b % 100_000), options),
      () => ring.readv(places.fifo, [bufferOf(world, b), new Uint8Array(b % 100)], 0, options),
    ],
    a,
  )
  world.keep('stay', attempt<Completion<unknown>>('stay', call))
}

function vectors(world: World, a: number, b: number): void {
  const parts = Array.from({ length: a % 6 }, (_, i) =>
    (b >> i) % 2 === 0 ? bufferOf(world, a + i * b) : new Uint8Array((b * i) % 3000),
  )
  const { ring, places } = world
  const call = () =>
    a % 2 === 0
      ? ring.readv(places.files[0], parts, b % FILE_BYTES)
      : ring.writev(places.scratch, parts, b % 1e5)
  world.keep('vector', attempt('vector', call))
  if (b % 5 === 0) {
    for (const part of parts) if (part instanceof Uint8Array) transferAway(part)
  }
}

function chain(world: World, a: number, b: number, c: number): void {
  const { ring, places } = world
  const chain = ring.chain<unknown[]>({ hard: a % 2 === 0 })
  const array = new Uint8Array(b % 5000)
  for (let i = 0; i < a % 7; i++) {
    const by = b + i * 13
    const steps = [
      () => chain.writeAt(places.scratch, bufferOf(world, by), 0, optionsOf(world, by + c)),
      () => chain.readAt(places.files[0], bufferOf(world, by + 1), by % FILE_BYTES),
      () => chain.readAt(places.files[1], array, 0),
      () => chain.fdatasync(c % 5 === 0 ? 0x7ffffff : places.scratch),
      () => chain.openat(places.path),
      () => chain.statx(places.path),
      () => chain.timeout(1 + (by % 3)),
      () => chain.poll(places.fifo, 1, { deadlineMs: 2 }),
      () => chain.nop(),
    ]
    attempt<unknown>('chain', pick(steps, by))
  }
  const completion = attempt('chain', () => chain.submit())
  if (c % 3 === 0) transferAway(array)
  world.keep('chain', completion, values => {
    for (const value of values) if (isFile(value)) world.files.push(value)
  })
}

const isFile = (value: unknown): value is RingFile =>
  value !== null && typeof value === 'object' && 'close' in value

function batch(world: World, a: number, b: number, c: number): void {
  const { ring, places } = world
  const batch = ring.batch()
  const array = arrayOf(c)
  for (let i = 0; i < a % 9; i++) {
    const by = b + i * 7
    const steps = [
      () => batch.nop(),
      () => batch.readAt(places.files[0], bufferOf(world, by), by % FILE_BYTES),
      () => batch.readAt(places.files[0], array, 0),
      () => batch.poll(places.fifo, 1, { deadlineMs: 1 + (by % 4) }),
      () => batch.nop(by % 3 === 0 ? { deadlineMs: 2 } : undefined),
      () => batch.openat(places.path),
    ]
    attempt<unknown>('batch', pick(steps, by))
  }
  // A buffer of it may be lent when it is submitted, and free when it is tried again.
  if (b % 3 === 0) read(world, 1, b, 6)
  const submit = () =>
    world.keep(
      'batch',
      attempt('batch', () => batch.submit()),
    )
  submit()
  if (c % 7 === 0) transferAway(array)
  if (c % 2 === 0) submit()
  world.watch('batch again', delay(c % 4).then(submit))
}

/** Everything that JavaScript can do to what is lent, or was. */
function touch(world: World, a: number): void {
  const { buffer, ...mine } = owned(world, a)
  if (buffer.lent) {
    refused('bytes of a lent buffer', 'ERR_RIOLOG_BUFFER_LENT', () => buffer.bytes)
    refused('a lent buffer', 'ERR_RIOLOG_BUFFER_LENT', () =>
      world.ring.writeAt(world.places.scratch, buffer, 0),
    )
    return
  }
  const view = buffer.bytes
  mine.uses++
  owned(world, a).uses++
  view.fill(a)
  world.views.push({ view, of: buffer })
}

function stale(world: World, a: number): void {
  for (const { view } of world.views.splice(0, 1 + (a % 4))) {
    if (view.length > 0) view.fill(2)
    const buffer = view.buffer as ArrayBuffer & { transfer?: () => ArrayBuffer }
    try {
      if (a % 3 === 0) new MessageChannel().port1.postMessage(buffer, [buffer])
      else if (a % 3 === 1) structuredClone(view, { transfer: [buffer] })
      else if (buffer.byteLength > 0) buffer.transfer?.()
    } catch {
      // Node may refuse to transfer memory that is not its own.
    }
  }
}

function transferred(world: World, a: number, b: number): void {
  const array = new Uint8Array(1 + (a % 5000))
  const { ring, places } = world
  const calls = [
    () => ring.readAt(places.files[0], array, 0),
    () => ring.chain().readAt(places.files[0], array, 0).openat(places.path).submit(),
    () => ring.chain().readAt(places.files[0], array, 0).fsync(0x7ffffff).submit(),
    () => ring.batch().nop().readAt(places.files[0], array, 0).submit(),
  ]
  const call = pick<() => Completion<unknown>>(calls, b)
  world.keep('transferred', attempt('transferred', call))
  transferAway(array)
}

function registered(world: World, a: number, b: number): void {
  const { ring, places } = world
  const file = a % 2
  const first = attempt('register', () => ring.registerFile(places.files[file]))
  if (first === undefined) return
  const array = new Uint8Array(100)
  const reading = attempt('registered', () => ring.readAt(first, array, b % 1000))
  const chain = ring.chain().nop()
  const chained = attempt('registered', () => chain.readAt(first, new Uint8Array(9), 0))
  first.release()
  // The next has its place; the read goes on with the file that it was asked of.
  const second = attempt('register', () => ring.registerFile(places.files[1 - file]))
  world.keep('registered', reading, count => checkBytes(file, b % 1000, array, count))
  if (chained !== undefined)
    world.keep(
      'registered',
      attempt('released', () => chained.submit()),
    )
  refused('a released file', 'ERR_RIOLOG_INVALID_ARGUMENT', () => ring.fsync(first))
  second?.release()
  first.release()
}

function registerBuffers(world: World, a: number, b: number): void {
  const buffer = bufferOf(world, a)
  if (b % 3 === 0) attempt('unregister', () => world.ring.unregisterBuffer(buffer))
  else attempt('register', () => world.ring.registerBuffer(buffer))
  if (b % 5 === 0) {
    owned(world, a).uses++
    const advice = pick(['normal', 'dontNeed', 'willNeed'] as const, b)
    world.keep(
      'madvise',
      attempt('madvise', () => world.ring.madvise(buffer, advice)),
    )
  }
}

/** A handle that is closed while it is used, twice, and used again. */
async function handle(world: World, a: number, b: number): Promise<void> {
  const { ring, places } = world
  const opening = attempt('open', () => ring.openat(places.path, { flags: 0 }))
  if (opening === undefined) return
  world.completions.push(opening)
  const file = await opening
  const array = new Uint8Array(b % 1000)
  const reading = attempt('read', () => ring.readAt(file, array, 0))
  world.watch('read', reading, count => checkBytes(0, 0, array, count))
  if (a % 5 === 0) return // dropped: the collector closes it
  const cancel = attempt('cancel', () => ring.cancelHandle(file))
  world.watch('cancel', cancel)
  world.watch('close', file.close())
  world.watch('close', file.close())
  refused('a closed file', 'ERR_RIOLOG_CLOSED', () => ring.readAt(file, array, 0))
}

/** A connection, what comes on it, and leaving in the middle. */
async function converse(world: World, a: number, b: number): Promise<void> {
  const { ring } = world
  const on = { address: '127.0.0.1', port: 0 }
  const server = attempt('listen', () => ring.listen({ on }))
  if (server === undefined) return
  const group = attempt('group', () => ring.bufferGroup(1 << (a % 3), 64))
  try {
    const accepting = attempt('accept', () => ring.acceptAll(server))
    const far = await ring.dial(server.address())
    const near = (await accepting?.next())?.value
    const bytes = contentOf(0, 0, 1 + (b % 2000))
    world.watch(
      'send',
      attempt('send', () => ring.send(far, bytes)),
    )
    if (near !== undefined && group !== undefined) {
      const stream = ring.recvAll(near, group)
      let at = 0
      const read = async (): Promise<void> => {
        const { value } = await stream.next()
        if (value === undefined) return
        for (const byte of value) if (byte !== byteAt(0, at++)) violations.push('wrong bytes came')
      }
      for (let i = 0; i < a % 4 && at < bytes.length; i++) await read()
      const left = [stream.return()]
      if (b % 2 === 0) left.push(stream.return())
      await Promise.all(left)
      const receiving = attempt('recv', () => ring.recv(near, bufferOf(world, b)))
      world.watch('recv', receiving)
      world.watch('close', near.close())
      receiving?.cancel()
    }
    await accepting?.return()
    await far.close()
  } finally {
    world.watch('close', server.close())
    attempt('release', () => group?.release())
  }
}

/** Datagrams between two sockets of a ring, received into several buffers. */
async function datagrams(world: World, a: number): Promise<void> {
  const { ring } = world
  const on = { address: '127.0.0.1', port: 0 }
  const sockets = [0, 1].map(() => attempt('bind', () => ring.datagram({ on })))
  const [from, to] = sockets
  if (from !== undefined && to !== undefined) {
    const parts = [contentOf(0, 0, 10), contentOf(0, 10, a % 300)]
    const into = [new Uint8Array(7), new Uint8Array(400)]
    const receiving = attempt('recvmsg', () => ring.recvmsg(to, into, { deadlineMs: 1000 }))
    world.keep('recvmsg', receiving, ({ length }) => {
      checkBytes(0, 0, into[0], 7)
      checkBytes(0, 7, into[1], length - 7)
    })
    const sent = attempt('sendmsg', () => ring.sendmsg(from, parts, to.address()))
    world.watch('sendmsg', sent)
    if (a % 2 === 0) receiving?.cancel()
  }
  for (const socket of sockets) world.watch('close', socket?.close())
}

async function messages(world: World, a: number, b: number): Promise<void> {
  const { ring, far } = world
  const inbox = attempt('messages', () => ring.messages())
  for (let i = 0; i < 1 + (a % 100); i++) {
    world.watch(
      'message',
      attempt('message', () => far.message(ring.fd, 5, b)),
    )
  }
  const first = (await inbox?.next())?.value
  if (first !== undefined && first.value !== 5) violations.push('another message came')
  await inbox?.return?.(undefined)
}

function close(world: World, a: number, b: number): void {
  if (a % 4 > 0) return
  const old = world.replaceRing(depthOf(b))
  const waiting = attempt('nop', () => old.nop())
  world.watch('nop', waiting)
  world.watch('close', old.close({ cancel: a % 8 === 0 }))
  refused('a closed ring', 'ERR_RIOLOG_CLOSED', () => old.nop())
  refused('a closed ring', 'ERR_RIOLOG_CLOSED', () => old.messages())
  attempt('read', () => old.readAt(world.places.files[0], bufferOf(world, b), 0))
  old.submitAll()
  if (b % 2 === 0) attempt('waitSync', () => waiting?.waitSync({ timeoutMs: 2 }))
  if (b % 3 === 0) world.watch('close', old.close({ cancel: true }))
}

/** A ring of its own, so that what it waits for stands behind nothing. */
function blocking(world: World, a: number, b: number): void {
  const ring = Ring.open({ depth: depthOf(a), profile: b % 2 === 0 })
  world.closing.push(ring)
  const array = new Uint8Array(b % 5000)
  const reading = ring.readAt(world.places.files[1], array, 0)
  world.watch('read', reading)
  const nop = ring.nop()
  world.watch('nop', nop)
  if (a % 3 === 0) world.watch('close', ring.close())
  const count = attempt('waitSync', () => reading.waitSync())
  checkBytes(1, 0, array, count ?? 0)
  if (b % 4 === 0) attempt('waitSync', () => nop.waitSync())
}

function waitSync(world: World, a: number): void {
  if (world.completions.length === 0) return
  const one = pick(world.completions, a)
  attempt('waitSync', () => one.waitSync({ timeoutMs: 1 }))
}

/** What may be wrong in a call of JavaScript, which no compiler stops. No number here is an open
 *  descriptor, and no text a path. */
const WRONG: readonly unknown[] = [
  undefined,
  null,
  -1,
  0.5,
  NaN,
  Infinity,
  2 ** 31,
  2 ** 60,
  '',
  '7',
  true,
  7n,
  Symbol('wrong'),
  () => 1,
  {},
  [],
  [null],
  { length: 5 },
  new Float64Array(2),
  new Uint8Array(0),
  new SharedArrayBuffer(8),
  new AbortController(),
]

const CALLS = [
  'readAt',
  'writeAt',
  'readv',
  'writev',
  'fsync',
  'fdatasync',
  'syncFileRange',
  'fallocate',
  'ftruncate',
  'fadvise',
  'madvise',
  'openat',
  'statx',
  'mkdirat',
  'renameat',
  'symlinkat',
  'socket',
  'bind',
  'connect',
  'accept',
  'send',
  'recv',
  'sendmsg',
  'recvmsg',
  'shutdown',
  'splice',
  'tee',
  'poll',
  'timeout',
  'nop',
  'cancelMatching',
  'message',
  'dial',
  'listen',
  'datagram',
  'bufferGroup',
  'registerFile',
  'registerBuffer',
  'unregisterBuffer',
  'acceptAll',
  'recvAll',
  'pollAll',
] as const

function wrong(world: World, a: number, b: number, c: number): void {
  const name = pick(CALLS, a)
  const { ring, places } = world
  const good: readonly unknown[] = [places.any, new Uint8Array(9), 0, undefined]
  const values = good.map((value, i) => ((c >> i) % 2 === 0 ? pick(WRONG, b + i * c) : value))
  const method = ring[name] as unknown as (...values: unknown[]) => unknown
  const given = attempt(name, () => method.apply(ring, values))
  if (given instanceof Promise) {
    if ('cancel' in given) world.keep(name, given as Completion<unknown>)
    else world.watch(name, given)
    return
  }
  if (isFile(given)) world.watch('close', given.close())
  else if (given !== null && typeof given === 'object') leave(world, given)
}

function leave(world: World, given: object): void {
  if ('return' in given) world.watch('left', (given as AsyncGenerator).return(undefined))
  if ('release' in given) attempt('release', () => (given as { release(): void }).release())
}

const background =
  (name: string, run: (world: World, a: number, b: number) => Promise<void>): Command =>
  (world, a, b) =>
    world.watch(name, run(world, a, b))

const abort: Command = ({ aborts }) => {
  for (const each of aborts.splice(0, 2)) each.abort()
}

const cancel: Command = ({ completions }, a) => {
  if (completions.length > 0) pick(completions, a).cancel()
}

const cancelMatching: Command = (world, a) => {
  const selection = a % 2 === 0 ? { file: world.places.fifo } : {}
  const { ring } = world
  const call = () => ring.cancelMatching(selection)
  world.keep('cancel', attempt('cancel', call))
}

/** By name, for a report; those that come twice are chosen twice as often. */
export const COMMANDS: readonly (readonly [name: string, run: Command])[] = [
  ['read', read],
  ['read', read],
  ['write', write],
  ['echo', echo],
  ['stay', stay],
  ['stay', stay],
  ['vectors', vectors],
  ['chain', chain],
  ['chain', chain],
  ['batch', batch],
  ['touch', touch],
  ['touch', touch],
  ['stale', stale],
  ['transferred', transferred],
  ['registered', registered],
  ['registerBuffers', registerBuffers],
  ['handle', background('handle', handle)],
  ['converse', background('converse', converse)],
  ['datagrams', background('datagrams', datagrams)],
  ['messages', background('messages', messages)],
  ['close', close],
  ['blocking', blocking],
  ['waitSync', waitSync],
  ['wrong', wrong],
  ['wrong', wrong],
  ['drop buffers', ({ owned }) => void owned.splice(0)],
  ['drop completions', ({ completions }) => void completions.splice(0)],
  ['drop files', ({ files }) => void files.splice(0)],
  ['collect', (_, a) => (a % 20 === 0 ? global.gc?.() : undefined)],
  ['submit', world => world.ring.submitAll()],
  ['cancel', cancel],
  ['abort', abort],
  ['cancel matching', cancelMatching],
  ['turn', () => delay(0)],
  ['turn', () => delay(1)],
]
