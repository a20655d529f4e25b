/** A client for the ingest server, on connections that are kept. */
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export class HttpClient {
  readonly #origin: string
  readonly #agent: Agent

  constructor(origin: string, connections: number) {
    this.#origin = origin
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections })
  }

  get(path: string): Promise<Answer> {
    return this.ask('GET', path)
  }

  post(body: Uint8Array | string): Promise<Answer> {
    return this.ask('POST', '/records', body)
  }

  /** @throws when there is no whole answer: the server is gone, or has broken it off */
  async ask(method: string, path: string, body?: Uint8Array | string): Promise<Answer> {
    const response = await this.begin(method, path, body)
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    const { statusCode: status = 0, headers } = response
    return { status, headers, body: Buffer.concat(chunks) }
  }

  /** The answer, when its head is there. @param isChunked without the length of the body */
  begin(
    method: string,
    path: string,
    body?: Uint8Array | string,
    isChunked = false,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = request(`${this.#origin}${path}`, { method, agent: this.#agent })
      asked.once('response', resolve).once('error', reject)
      if (isChunked) asked.write(body)
      asked.end(isChunked ? undefined : body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}
