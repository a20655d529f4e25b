/**
 * A small HTTP/1.1 server of the files in a directory: `http-static.ts [--host ADDRESS] [--port PORT]
 * DIRECTORY`, ended by SIGINT. GET and HEAD, keep-alive; accepting, receiving, opening, reading and
 * sending are all operations of one ring.
 */
import { constants } from 'node:fs'
import { readlink, realpath } from 'node:fs/promises'
import { STATUS_CODES } from 'node:http'
import { extname, sep } from 'node:path'
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import {
  IoBuffer,
  Ring,
  type RingFile,
  RiologError,
  type StreamSocket,
} from '../../src/ring/index.ts'

const MAX_HEADER = 8 * 1024
const CHUNK = 64 * 1024
/** So long may a request take to arrive, and a client take nothing of its answer. */
const PATIENCE_MS = 10_000
/** Further connections wait: one descriptor too many (EMFILE) would end the accepting. */
const MAX_CONNECTIONS = 256
const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.gif': 'image/gif',
  '.html': 'text/html; charset=utf-8',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
}

interface HttpRequest {
  readonly method: string
  readonly target: string
  readonly keepAlive: boolean
}

/** Something that is answered with a status, after which the connection ends. */
class Refused extends Error {
  readonly status: number
  constructor(status: number) {
    super(STATUS_CODES[status])
    this.status = status
  }
}

/** The connection ends without an answer. */
class Broken extends Error {}

function parse(header: string): HttpRequest {
  const [line, ...fields] = header.split('\r\n')
  const [, method, target, minor] =
    /^([A-Z]+) (?:http:\/\/[^/ ]+)?(\/\S*) HTTP\/1\.([01])$/.exec(line) ?? []
  if (method === undefined) throw new Refused(400)
  const named = new Map<string, string>()
  for (const field of fields) {
    const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):(.*)$/.exec(field) ?? []
    if (name === undefined) throw new Refused(400)
    // Of two that say different things, somebody in front of this server may have believed the other.
    if (named.has(name.toLowerCase())) throw new Refused(400)
    named.set(name.toLowerCase(), value.trim())
  }
  if (minor === '1' && !named.has('host')) throw new Refused(400)
  // Nothing here takes a body; one that is skipped wrongly would be read as the next request.
  if (named.has('transfer-encoding')) throw new Refused(413)
  if ((named.get('content-length') ?? '0') !== '0') throw new Refused(413)
  const keepAlive = minor === '1' && !/\bclose\b/i.test(named.get('connection') ?? '')
  return { method, target, keepAlive }
}

/** One connection: its requests, one after the other, and what came too early of the next. */
class Connection {
  readonly #ring: Ring
  readonly #socket: StreamSocket
  readonly #root: string
  readonly #incoming = Buffer.alloc(MAX_HEADER)
  #received = 0

  constructor(ring: Ring, socket: StreamSocket, root: string) {
    this.#ring = ring
    this.#socket = socket
    this.#root = root
  }

  async serve(): Promise<void> {
    try {
      while (await this.#serveOne());
    } catch (error) {
      // The client is gone or too slow, or this server ends: neither concerns the others.
      if (!(error instanceof RiologError || error instanceof Broken)) throw error
    } finally {
      await this.#socket.close()
    }
  }

  async #serveOne(): Promise<boolean> {
    try {
      const header = await this.#header()
      if (header === undefined) return false
      const request = parse(header)
      if (request.method === 'GET' || request.method === 'HEAD') await this.#give(request)
      else await this.#answer(405, request, ['Allow: GET, HEAD'])
      return request.keepAlive
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      await this.#answer(error.status, { method: 'GET', target: '', keepAlive: false })
      await this.#linger()
      return false
    }
  }

  /** The next request's header; undefined when the client has closed. */
  async #header(): Promise<string | undefined> {
    const until = performance.now() + PATIENCE_MS
    for (;;) {
      const end = this.#incoming.subarray(0, this.#received).indexOf('\r\n\r\n')
      if (end >= 0) {
        const header = this.#incoming.toString('latin1', 0, end)
        this.#incoming.copyWithin(0, end + 4, this.#received)
        this.#received -= end + 4
        return header
      }
      if (this.#received === MAX_HEADER) throw new Refused(431)
      // A deadline for all of it, or a byte now and then would hold the connection for hours.
      const deadlineMs = Math.max(1, until - performance.now())
      const options = { from: this.#received, deadlineMs }
      const got = await this.#ring.recv(this.#socket, this.#incoming, options)
      if (got === 0) return undefined
      this.#received += got
    }
  }

  async #give(request: HttpRequest): Promise<void> {
    const path = pathOf(request.target)
    const file = path === undefined ? undefined : await this.#open(path)
    if (path === undefined || file === undefined) return this.#answer(404, request)
    try {
      // By the descriptor, so that it is of the file that was opened, whatever the name is by now.
      const stat = await this.#ring.statx(`/proc/self/fd/${file.fd}`)
      if (!stat.isFile()) return await this.#answer(404, request)
      const type = TYPES[extname(path)] ?? 'application/octet-stream'
      await this.#head(200, request, stat.size, type)
      if (request.method === 'GET') await this.#body(file, stat.size)
    } finally {
      await file.close()
    }
  }

  /** Opens a file below the root; undefined where there is none to be had. */
  async #open(path: string): Promise<RingFile | undefined> {
    // A FIFO must not hold this up until somebody writes to it.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK
    const file = await this.#ring.openat(this.#root + path, { flags }).catch(() => undefined)
    // Symbolic links may lead anywhere: what counts is where the kernel ended up.
    const real = file && (await readlink(`/proc/self/fd/${file.fd}`).catch(() => ''))
    if (real?.startsWith(this.#root.replace(/\/?$/, sep))) return file
    await file?.close()
    return undefined
  }

  async #body(file: RingFile, size: number): Promise<void> {
    const buffer = IoBuffer.alloc(CHUNK)
    for (let offset = 0; offset < size; ) {
      const length = Math.min(CHUNK, size - offset)
      const got = await this.#ring.readAt(file, buffer, offset, { length })
      // The length is promised already: all that is left is to break the connection.
      if (got === 0) throw new Broken('the file became shorter')
      await this.#send(buffer, got)
      offset += got
    }
  }

  async #answer(status: number, request: HttpRequest, more: string[] = []): Promise<void> {
    const text = Buffer.from(`${status} ${STATUS_CODES[status]}\n`)
    await this.#head(status, request, text.length, 'text/plain; charset=utf-8', more)
    if (request.method !== 'HEAD') await this.#send(text, text.length)
  }

  #head(
    status: number,
    { keepAlive }: HttpRequest,
    length: number,
    type: string,
    more: string[] = [],
  ): Promise<void> {
    const lines = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      `Date: ${new Date().toUTCString()}`,
      `Content-Type: ${type}`,
      `Content-Length: ${length}`,
      'X-Content-Type-Options: nosniff',
      `Connection: ${keepAlive ? 'keep-alive' : 'close'}`,
      ...more,
    ]
    const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
    return this.#send(bytes, bytes.length)
  }

  async #send(bytes: IoBuffer | Uint8Array, length: number): Promise<void> {
    for (let from = 0; from < length; ) {
      const options = { from, length: length - from, deadlineMs: PATIENCE_MS }
      from += await this.#ring.send(this.#socket, bytes, options)
    }
  }

  /** Closing with unread bytes resets the connection, and the answer might not arrive any more. */
  async #linger(): Promise<void> {
    await this.#ring.shutdown(this.#socket, 'write')
    for (let left = 64; left > 0; left--) {
      if ((await this.#ring.recv(this.#socket, this.#incoming, { deadlineMs: 1000 })) === 0) return
    }
  }
}

/** Undefined where no file can have this name. */
function pathOf(target: string): string | undefined {
  let path: string
  try {
    path = decodeURIComponent(target.split(/[?#]/)[0])
  } catch {
    throw new Refused(400)
  }
  if (path.includes('\0') || path.split('/').includes('..')) return undefined
  return path.endsWith('/') ? `${path}index.html` : path
}

async function main(directory: string, address: string, port: number): Promise<void> {
  const root = await realpath(directory)
  const ring = Ring.open()
  try {
    await using listening = ring.listen({ on: { address, port } })
    const connections = ring.acceptAll(listening)
    process.once('SIGINT', () => void ring.close({ cancel: true })) // which ends the loop below
    console.log('listening on', JSON.stringify(listening.address()))
    const serving = new Set<Promise<void>>()
    for await (const socket of connections) {
      const served = new Connection(ring, socket, root).serve()
      serving.add(served)
      void served.then(() => serving.delete(served))
      if (serving.size === MAX_CONNECTIONS) await Promise.race(serving)
    }
  } finally {
    await ring.close({ cancel: true })
  }
}

const USAGE = 'usage: http-static.ts [--host ADDRESS] [--port PORT] DIRECTORY'
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '8080' },
    },
  })
  if (positionals.length !== 1) throw new Error('one directory, please')
  await main(positionals[0], values.host, Number(values.port))
} catch (error) {
  console.error(`${(error as Error).message}\n${USAGE}`)
  process.exitCode = 1
}
