/**
 * The server as a process: `npx tsx examples/http-ingest/main.ts [--host ADDRESS] [--port PORT] [--engine NAME]
 * DIRECTORY`. SIGINT and SIGTERM end it when all that is under way is answered. Try it:
 *
 * ```
 *   curl -i --data-binary 'hello' http://127.0.0.1:8080/records
 *   curl 'http://127.0.0.1:8080/records?follow'
 * ```
 *
 * When the log is poisoned (a write or sync has failed), it goes on to answer reads, and /health fails: let whatever
 * watches it start it anew, which decides what became of the last records.
 */
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog'.
import { Log, type LogOptions } from '../../src/index.ts'
import { IngestServer } from './ingest-server.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' },
    engine: { type: 'string', default: 'auto' },
  },
})
if (positionals.length !== 1) {
  console.error('usage: main.ts [--host ADDRESS] [--port PORT] [--engine NAME] DIRECTORY')
  process.exit(2)
}
const log = await Log.open(positionals[0], {
  engine: values.engine as LogOptions['engine'] & string,
  // A disk that answers nothing is told by /health, too, and not only by clients that wait.
  commitTimeoutMs: 10_000,
})
const server = new IngestServer(log)
server.http.listen(Number(values.port), values.host, () => {
  const { address, port } = server.http.address() as AddressInfo
  console.log(`listening on http://${address}:${port}`)
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server.close().catch(error => {
      console.error(error.message)
      process.exitCode = 1
    })
  })
}
