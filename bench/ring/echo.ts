/** An echo server under the load of echo-client.c; what is measured is the server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import {
  absentScript,
  buildC,
  type Command,
  GRACE_MS,
  node,
  numbers,
  PACKAGE,
  reason,
  run,
} from './children.ts'
import type { Benchmark, Contender, Figures } from './contender.ts'

export interface EchoCase {
  readonly connections: number
  readonly bytes: number
  readonly seconds: number
}

/** Makes a contender of a script that keeps to the protocol of echo-node-net.ts. */
export type EchoScript = (name: string, script: string) => Contender<EchoCase>

/** Connections and the bytes of a message. */
const CASES = [
  [1, 64],
  [64, 64],
  [1, 4096],
  [64, 4096],
] as const
const WARM_UP_SECONDS = 1
const SERVER_CPU = 0
const CLIENT_CPU = 1

/** @param pin the server to one CPU, and the client to another */
export function echoBenchmark(
  folder: string,
  seconds: number,
  pin: boolean,
  others: (script: EchoScript) => readonly Contender<EchoCase>[],
): Benchmark<EchoCase> {
  if (pin && availableParallelism() < 2) throw new Error('--pin needs two CPUs')
  const client = buildC('echo-client', folder)
  const pinned = (cpu: number, command: Command): Command =>
    pin ? ['taskset', '-c', `${cpu}`, ...command] : command

  const script: EchoScript = (name, file) => ({
    name,
    absent: client.absent ?? absentScript(file),
    run: what => {
      const load = (port: number, server: number) => {
        const { connections, bytes, seconds } = what
        const args = [port, connections, bytes, WARM_UP_SECONDS, seconds, server].map(String)
        const command = pinned(CLIENT_CPU, [client.path, ...args])
        return run(command, WARM_UP_SECONDS + seconds)
      }
      return runEcho(pinned(SERVER_CPU, node(file)), load, WARM_UP_SECONDS + what.seconds)
    },
  })
  return {
    title: `TCP echo on loopback, one message in flight for each connection${
      pin ? `; server on CPU ${SERVER_CPU}, client on CPU ${CLIENT_CPU}` : ''
    }`,
    cases: CASES.map(([connections, bytes]) => ({ connections, bytes, seconds })),
    nameOf: ({ connections, bytes }) => `${connections} connections x ${bytes} B`,
    contenders: [script('node:net', 'echo-node-net.ts'), ...others(script)],
  }
}

async function runEcho(
  command: Command,
  load: (port: number, server: number) => Promise<string>,
  duration: number,
): Promise<Figures> {
  const server = start(command)
  const kill = () => server.child.kill('SIGKILL')
  process.once('exit', kill)
  const tooLong = setTimeout(kill, duration * 1000 + GRACE_MS)
  try {
    const line = await load(await server.port, server.child.pid!)
    server.child.kill('SIGTERM')
    await server.closed
    return figures(line, server.reports)
  } catch (error) {
    kill()
    const said = await server.closed
    throw said === '' ? error : new Error(`${reason(error)}; the server: ${said}`)
  } finally {
    clearTimeout(tooLong)
    process.removeListener('exit', kill)
  }
}

function figures(line: string, reports: readonly string[]): Figures {
  // One for each of the client's signals, and one for the SIGTERM.
  if (reports.length !== 3) throw new Error(`not three reports of CPU time: ${reports.join(' ')}`)
  const [started, stopped] = reports.map(report => numbers(report, 'cpuSeconds').cpuSeconds)
  const load = numbers(line, 'messages', 'seconds', 'p50us', 'p99us', 'cpuSeconds')
  return {
    perSecond: load.messages / load.seconds,
    p50Us: load.p50us,
    p99Us: load.p99us,
    cpuUs: ((stopped - started) / load.messages) * 1e6,
    loadBusy: load.cpuSeconds / load.seconds,
  }
}

interface Server {
  readonly child: ChildProcess
  /** Rejects when the server ends before it listens. */
  readonly port: Promise<number>
  /** The lines of JSON that it has printed. */
  readonly reports: readonly string[]
  /** Resolves when it has ended, with what it said on standard error. */
  readonly closed: Promise<string>
}

function start([program, ...args]: Command): Server {
  const child = spawn(program, args, { cwd: PACKAGE, stdio: ['ignore', 'pipe', 'pipe'] })
  const reports: string[] = []
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  // 'close' follows, of a program that cannot be started too.
  child.on('error', error => {
    said += error.message
  })
  const closed = new Promise<string>(resolve => child.on('close', () => resolve(said.trim())))
  const port = new Promise<number>((resolve, reject) => {
    createInterface(child.stdout).on('line', line => {
      if (line.startsWith('port ')) resolve(Number(line.slice(5)))
      else if (line.startsWith('{')) reports.push(line)
    })
    closed.then(() => reject(new Error('the server ended before it listened')))
  })
  return { child, port, reports, closed }
}
