/**
 * An HTTP server that takes records and answers when they are durable:
 *
 * ```
 *   POST /records                  204 and Location when the body is durable; a power cut cannot take it back
 *   GET  /records?from=&limit=     {"lsn":…,"data":"base64"} a line, oldest first; with &follow each new one, too
 *   GET  /records/LSN              the body
 *   GET  /health                   200 as long as records can be taken
 * ```
 *
 * What a client of POST is told, and what it means:
 *
 * | status | the record | what to do |
 * |---|---|---|
 * | 204 | is durable | |
 * | 413 | was not taken: too large | |
 * | 503 and Retry-After | was not taken: the disk is behind, or the server ends | later, again |
 * | 507 | was not taken: the disk is full | later, again |
 * | 500, or no answer | undecided | again; it may be there twice, so put an id into it that readers know it by |
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
// Your own code imports from 'riolog'.
import type { Log, LogRecord } from '../../src/index.ts'

export interface IngestOptions {
  /** The longest body in bytes, at most `log.maxRecordBytes`; 64 KiB. */
  readonly maxBodyBytes?: number
  /** With `maxBodyBytes` the bound of what bodies that are still arriving take of memory; 1000. */
  readonly maxConnections?: number
  /** Bodies that wait for room in the log, at least 1; with more the disk is behind. 100. */
  readonly maxWaiting?: number
  /** For how long a client is asked to go away when the disk is behind, in seconds; 1. */
  readonly retryAfterS?: number
  /** How long `close` waits for requests under way, in milliseconds; 10000. */
  readonly graceMs?: number
}

/** Nothing was taken, or nothing was found. What is not here is a 500. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  ERR_RIOLOG_BACKPRESSURE: 503,
  ERR_RIOLOG_CLOSED: 503,
  ERR_RIOLOG_NO_SPACE: 507,
  ERR_RIOLOG_RECORD_TOO_LARGE: 413,
  ERR_RIOLOG_NOT_FOUND: 404,
  ERR_RIOLOG_TRIMMED: 410,
  ERR_RIOLOG_REWOUND: 410,
}

/** Something that is answered with a status. */
class Refused extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message)
    this.status = status
    this.headers = headers
  }
}

export class IngestServer {
  /** To listen with; `close` of this class ends it. */
  readonly http: Server
  readonly #log: Log
  readonly #maxBodyBytes: number
  readonly #maxWaiting: number
  readonly #retryAfterS: number
  readonly #graceMs: number
  /** Aborted when the server ends: readers who wait for more get no more. */
  readonly #ending = new AbortController()
  #waiting = 0

  /** @param log which `close` closes */
  constructor(log: Log, options: IngestOptions = {}) {
    this.#log = log
    this.#maxBodyBytes = Math.min(options.maxBodyBytes ?? 64 * 1024, log.maxRecordBytes)
    this.#maxWaiting = options.maxWaiting ?? 100
    this.#retryAfterS = options.retryAfterS ?? 1
    this.#graceMs = options.graceMs ?? 10_000
    this.http = createServer((request, response) => void this.#serve(request, response))
    this.http.maxConnections = options.maxConnections ?? 1000
    // A body that arrives a byte now and then would hold its connection for ever.
    this.http.requestTimeout = 30_000
  }

  /**
   * Takes no more connections, answers what is under way, and closes the log.
   * @throws ERR_RIOLOG_POISONED when records could not be made durable; their clients were told 500
   */
  async close(): Promise<void> {
    this.#ending.abort()
    const closing = new Promise(resolve => this.http.close(resolve))
    const timer = setTimeout(() => this.http.closeAllConnections(), this.#graceMs)
    await closing
    clearTimeout(timer)
    await this.#log.close()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.once('finish', () => {
      if (this.#ending.signal.aborted) setImmediate(() => this.http.closeIdleConnections())
    })
    try {
      await this.#route(request, response)
    } catch (error) {
      this.#refuse(request, response, error)
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method } = request
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (url.pathname === '/records' && method === 'POST') return this.#ingest(request, response)
    if (method !== 'GET') throw new Refused(405, 'GET, or POST /records', { allow: 'GET, POST' })
    if (url.pathname === '/records') return this.#list(url.searchParams, response)
    if (url.pathname === '/health') return this.#tellHealth(response)
    const [, lsn] = /^\/records\/(\d{1,16})$/.exec(url.pathname) ?? []
    if (lsn === undefined) throw new Refused(404, 'nothing is here')
    const data = await this.#log.read(Number(lsn))
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(data)
  }

  async #ingest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await this.#bodyOf(request)
    const lsn = await this.#append(body)
    response.writeHead(204, { location: `/records/${lsn}` }).end()
  }

  /**
   * Resolves when it is durable; all who come meanwhile share a sync.
   *
   * `appendDurable` would wait for room, and without a bound those who wait would take all memory: so it is `append`,
   * and some who wait. Those are needed: the log has no room for a moment each time that it begins a segment, too, and
   * makes haste with that only while somebody waits in `drain`.
   * @throws ERR_RIOLOG_BACKPRESSURE when too many wait, and what `log.append` throws
   */
  async #append(body: Buffer): Promise<number> {
    for (;;) {
      try {
        return await this.#whenDurable(body)
      } catch (error) {
        const { code } = error as { code?: unknown }
        if (code !== 'ERR_RIOLOG_BACKPRESSURE' || this.#waiting >= this.#maxWaiting) throw error
      }
      this.#waiting++
      await this.#log.drain().finally(() => this.#waiting--)
    }
  }

  /** What `append` throws, this rejects with. */
  #whenDurable(body: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#log.append(body, (error, lsn) => (error === undefined ? resolve(lsn) : reject(error)))
    })
  }

  async #bodyOf(request: IncomingMessage): Promise<Buffer> {
    const most = this.#maxBodyBytes
    const tooLarge = () => new Refused(413, `at most ${most} bytes`)
    if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge()
    const chunks: Buffer[] = []
    let bytes = 0
    // Not destroyed when this stops: the answer takes the same connection.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length
      if (bytes > most) throw tooLarge()
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }

  async #list(query: URLSearchParams, response: ServerResponse): Promise<void> {
    const from = numberOf(query, 'from', 0)
    const limit = numberOf(query, 'limit', query.has('follow') ? Number.MAX_SAFE_INTEGER : 1000)
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const signal = AbortSignal.any([this.#ending.signal, gone.signal])
    const log = this.#log
    const records = query.has('follow') ? log.tail({ from, signal }) : log.scan({ from })
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.flushHeaders() // A follower may have to wait for the first line.
    await pipeline(linesOf(records, limit), response)
  }

  /** A flush of a log that is poisoned fails, also where nothing is to be flushed. */
  async #tellHealth(response: ServerResponse): Promise<void> {
    if (this.#ending.signal.aborted) throw new Refused(503, 'the server ends')
    const durableLsn = await this.#log.flush()
    const body = JSON.stringify({ status: 'ok', durableLsn })
    response.writeHead(200, { 'content-type': 'application/json' }).end(`${body}\n`)
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    // A list that was begun cannot be refused any more. The pipeline has broken it off, so nobody takes a part of it
    // for the whole.
    if (response.headersSent) return
    const { code = '' } = error as { code?: string }
    const refused = error instanceof Refused ? error : undefined
    const status = refused?.status ?? STATUS_OF_CODE[code] ?? 500
    for (const [name, value] of Object.entries(refused?.headers ?? {})) {
      response.setHeader(name, value)
    }
    if (status === 503) response.setHeader('retry-after', this.#retryAfterS)
    // Of what went wrong inside a client learns the code, and nothing of files and places.
    const message = refused?.message ?? (code || 'internal error')
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${message}\n`)
    request.resume() // The rest of a body that nobody reads would hold up the next request.
  }
}

/** @throws ERR_RIOLOG_CORRUPT and what else a scan throws, but for the end of a tail that is to wait no longer */
async function* linesOf(records: AsyncIterable<LogRecord>, limit: number): AsyncGenerator<string> {
  let left = limit
  if (left === 0) return
  try {
    for await (const { lsn, data } of records) {
      yield `${JSON.stringify({ lsn, data: data.toString('base64') })}\n`
      if (--left === 0) return
    }
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_CANCELED') throw error
  }
}

function numberOf(query: URLSearchParams, name: string, byDefault: number): number {
  const text = query.get(name)
  if (text === null) return byDefault
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw new Refused(400, `${name} is a number`)
  return number
}
