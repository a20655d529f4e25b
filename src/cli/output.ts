/** Standard output: what a command says there, as text for people or as JSON for programs. */
import type { Writable } from 'node:stream'

const BATCH_BYTES = 64 * 1024

/**
 * The write that fails is told of its error, but the stream tells too, and a stream that nobody
 * listens to ends the process.
 */
function ignore(): void {}

/** Gathers small pieces into large writes, and waits for each: a slow reader slows the writer. */
export class Output {
  readonly #stream: Writable
  #pieces: Uint8Array[] = []
  #bytes = 0

  constructor(stream: Writable = process.stdout) {
    this.#stream = stream
    if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore)
  }

  /** True when there is enough for a write, and flush should be awaited. */
  add(pieces: readonly Uint8Array[]): boolean {
    for (const piece of pieces) {
      this.#pieces.push(piece)
      this.#bytes += piece.length
    }
    return this.#bytes >= BATCH_BYTES
  }

  /** @throws EPIPE when whoever reads has left */
  async flush(): Promise<void> {
    if (this.#bytes === 0) return
    const batch = Buffer.concat(this.#pieces, this.#bytes)
    this.#pieces = []
    this.#bytes = 0
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(batch, error => (error ? reject(error) : resolve()))
    })
  }
}

export async function printLine(line: string): Promise<void> {
  const output = new Output()
  output.add([Buffer.from(`${line}\n`)])
  await output.flush()
}

export function printJson(value: object): Promise<void> {
  return printLine(JSON.stringify(value))
}

/** One `name: value` a line, the values in one column. */
export function printFields(fields: Readonly<Record<string, string | number>>): Promise<void> {
  const width = Math.max(...Object.keys(fields).map(name => name.length)) + 2
  const lines = Object.entries(fields).map(([name, value]) => `${name}:`.padEnd(width) + value)
  return printLine(lines.join('\n'))
}

/** Rows under a heading, each column as wide as its widest cell. */
export function printTable(table: readonly (readonly string[])[]): Promise<void> {
  const widths = table[0].map((_, column) => Math.max(...table.map(row => row[column].length)))
  const lines = table.map(row => row.map((cell, at) => cell.padStart(widths[at])).join('  '))
  return printLine(`\n${lines.join('\n')}`)
}
