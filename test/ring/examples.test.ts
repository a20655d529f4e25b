import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from '../support/engines.ts'
import { temporaryFolder, withRing } from './support.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TEN_MIB = 10 * 2 ** 20

function start(t: Test, name: string, args: readonly string[]): ChildProcess {
  const command = ['--import=tsx', `examples/ring/${name}`, ...args]
  const child = spawn(process.execPath, command, { cwd: ROOT, timeout: 60_000 })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

interface Ran {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs an example to its end. */
async function run(t: Test, name: string, args: readonly string[], input?: Buffer): Promise<Ran> {
  const child = start(t, name, args)
  child.stdin!.on('error', () => {}) // one that fails early does not read it
  child.stdin!.end(input)
  const ended = once(child, 'close')
  const [stdout, stderr] = await Promise.all([buffer(child.stdout!), buffer(child.stderr!)])
  const [code] = await ended
  return { code, stdout, stderr: String(stderr) }
}

interface Server {
  readonly port: number
  /** What it wrote to standard error. */
  readonly errors: () => string
  /** Sends it SIGINT; gives its exit code. */
  readonly stop: () => Promise<number | null>
}

/** Starts an example that serves, and waits until it says where. */
async function serve(t: Test, name: string, args: readonly string[] = []): Promise<Server> {
  const child = start(t, name, ['--port', '0', ...args])
  let errors = ''
  child.stderr!.on('data', data => (errors += data))
  const ended = once(child, 'close')
  const [line] = await once(child.stdout!, 'data')
  const port = Number(/"port":(\d+)/.exec(String(line))?.[1])
  const stop = async () => {
    child.kill('SIGINT')
    return (await ended)[0]
  }
  return { port, errors: () => errors, stop }
}

/** A connection, and all that comes on it until its end; an error ends it too. */
function dial(port: number): { socket: Socket; received: Promise<Buffer> } {
  const socket = connect({ port, host: '127.0.0.1' })
  const chunks: Buffer[] = []
  socket.on('data', chunk => chunks.push(chunk))
  socket.on('error', () => {})
  const received = new Promise<Buffer>(resolve => {
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
  return { socket, received }
}

/** Sends, and gives all that comes until the other end closes. */
function exchange(port: number, sent: string | Buffer): Promise<Buffer> {
  const { socket, received } = dial(port)
  socket.write(sent)
  return received
}

/** Ends connections with a reset, in the midst of what they do. */
async function resetSome(port: number, sent: string | Buffer): Promise<void> {
  for (let i = 0; i < 8; i++) {
    const { socket, received } = dial(port)
    socket.write(sent)
    await once(socket, i % 2 === 0 ? 'connect' : 'data')
    socket.resetAndDestroy()
    await received
  }
}

// ---- files ----

withRing(t, 'file-read prints a file of every size', async t => {
  for (const size of [0, 1, 65536, 65537, TEN_MIB]) {
    const path = join(temporaryFolder(t), 'in')
    const content = randomBytes(size)
    writeFileSync(path, content)
    const { code, stdout, stderr } = await run(t, 'file-read.ts', [path])
    t.ok(stdout.equals(content), `${size} bytes`)
    t.same([code, stderr], [0, ''])
  }
})

withRing(t, 'file-write takes its input into the file, in place of what was there', async t => {
  const path = join(temporaryFolder(t), 'out')
  for (const size of [TEN_MIB, 65537, 1, 0]) {
    const content = randomBytes(size)
    const { code, stdout, stderr } = await run(t, 'file-write.ts', [path], content)
    t.ok(readFileSync(path).equals(content), `${size} bytes`)
    t.same([code, String(stdout), stderr], [0, `${size} bytes are durable\n`, ''])
  }
})

withRing(t, 'o-direct brings every chunk back', async t => {
  const path = join(temporaryFolder(t), 'direct')
  const { code, stdout, stderr } = await run(t, 'o-direct.ts', ['--chunks', '160', path])
  t.same([code, stderr], [0, ''])
  t.equal(String(stdout), '160 chunks of 65536 bytes written, read back and compared\n')
  t.equal(statSync(path).size, 160 * 65536)
})

withRing(t, 'o-direct says what alignment it takes', async t => {
  const path = join(temporaryFolder(t), 'direct')
  const { code, stderr } = await run(t, 'o-direct.ts', ['--size', '100', path])
  t.equal(code, 1)
  t.match(stderr, /direct I\/O on this file needs multiples of \d+ bytes/)
})

withRing(t, 'copy makes an equal file, also over one that exists', async t => {
  const folder = temporaryFolder(t)
  const [from, to] = [join(folder, 'from'), join(folder, 'to')]
  for (const size of [TEN_MIB, 256 * 1024 + 1, 0]) {
    const content = randomBytes(size)
    writeFileSync(from, content, { mode: 0o640 })
    const { code, stdout, stderr } = await run(t, 'copy.ts', [from, to])
    t.ok(readFileSync(to).equals(content), `${size} bytes`)
    t.same([code, String(stdout), stderr], [0, `${size} bytes copied\n`, ''])
    t.equal(statSync(to).mode, statSync(from).mode)
  }
  t.same(readdirSync(folder).sort(), ['from', 'to'])
})

withRing(t, 'a copy that fails leaves nothing behind, and the old file as it was', async t => {
  const folder = temporaryFolder(t)
  const to = join(folder, 'to')
  writeFileSync(to, 'old')
  t.equal((await run(t, 'copy.ts', [folder, to])).code, 1)
  t.equal((await run(t, 'copy.ts', [join(folder, 'none'), to])).code, 1)
  // The kernel lies about the size of such a file: it reads as shorter.
  const { code, stderr } = await run(t, 'copy.ts', [
    '/sys/kernel/mm/transparent_hugepage/enabled',
    to,
  ])
  if (existsSync('/sys/kernel/mm/transparent_hugepage/enabled')) {
    t.match(stderr, /became shorter/)
  }
  t.equal(code, 1)
  t.same(readdirSync(folder), ['to'])
  t.equal(readFileSync(to, 'utf8'), 'old')
})

withRing(t, 'a copy that is interrupted leaves nothing behind', async t => {
  const folder = temporaryFolder(t)
  const [from, to] = [join(folder, 'from'), join(folder, 'to')]
  writeFileSync(from, '')
  truncateSync(from, 2 ** 30) // without blocks of its own: only what is copied takes room
  const child = start(t, 'copy.ts', [from, to])
  const ended = once(child, 'close')
  const said = buffer(child.stderr!)
  while (readdirSync(folder).length < 2) await new Promise(resolve => setTimeout(resolve, 1))
  child.kill('SIGINT')
  t.same(await ended, [1, null])
  t.equal(String(await said), 'interrupted\n')
  t.same(readdirSync(folder), ['from'])
})

withRing(t, 'a copy shows a terminal how far it is', async t => {
  const folder = temporaryFolder(t)
  const [from, to] = [join(folder, 'from'), join(folder, 'to')]
  writeFileSync(from, randomBytes(TEN_MIB))
  const command = `${process.execPath} --import=tsx examples/ring/copy.ts ${from} ${to}`
  let shown: string
  try {
    // script(1) gives it a terminal.
    shown = execFileSync('script', ['-qec', command, '/dev/null'], { cwd: ROOT, encoding: 'utf8' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return void t.pass('a progress bar', { skip: 'there is no script(1) here' })
  }
  t.match(shown, /100% .* 10485760\/10485760/)
  t.match(shown, /10485760 bytes copied/)
})

withRing(t, 'file-write fails when the disk is full, file-read when nobody reads', async t => {
  const full = await run(t, 'file-write.ts', ['/dev/full'], randomBytes(100_000))
  t.same([full.code, String(full.stdout)], [1, ''], 'and calls nothing durable')
  t.match(full.stderr, /write failed: ENOSPC/)

  const path = join(temporaryFolder(t), 'in')
  writeFileSync(path, randomBytes(TEN_MIB))
  const child = start(t, 'file-read.ts', [path])
  const stderr = buffer(child.stderr!)
  child.stdout!.destroy()
  t.equal((await once(child, 'close'))[0], 1)
  t.equal(String(await stderr), 'write EPIPE\n')
})

withRing(t, 'the examples of files say what is wrong', async t => {
  const none = join(temporaryFolder(t), 'none', 'file')
  for (const name of ['file-read.ts', 'file-write.ts', 'o-direct.ts', 'copy.ts']) {
    const usage = await run(t, name, [])
    t.equal(usage.code, 1, name)
    t.match(usage.stderr, new RegExp(`^usage: ${name.replace('.', '\\.')} .+\n$`))
    const failed = await run(t, name, name === 'copy.ts' ? [none, none] : [none])
    t.equal(failed.code, 1, name)
    t.match(failed.stderr, /^openat failed: ENOENT\n$/)
  }
  const chunks = await run(t, 'o-direct.ts', ['--chunks', 'many', none])
  t.same([chunks.code, chunks.stderr], [1, '--chunks takes a number\n'])
  const directory = await run(t, 'file-read.ts', [dirname(dirname(none))])
  t.same([directory.code, directory.stderr], [1, 'read failed: EISDIR\n'])
})

// ---- tcp-echo ----

withRing(t, 'tcp-echo gives several clients at once their bytes back', async t => {
  const server = await serve(t, 'tcp-echo.ts')
  const clients = Array.from({ length: 20 }, async (_, i) => {
    const content = randomBytes(i * 30_000 + 1)
    const { socket, received } = dial(server.port)
    socket.end(content)
    t.ok((await received).equals(content), `client ${i}`)
  })
  await Promise.all(clients)
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(t, 'tcp-echo goes on when clients go abruptly, and ends with some connected', async t => {
  const server = await serve(t, 'tcp-echo.ts')
  const waiting = dial(server.port)
  await once(waiting.socket, 'connect')
  await resetSome(server.port, randomBytes(100_000))
  const content = randomBytes(TEN_MIB)
  const { socket, received } = dial(server.port)
  socket.end(content)
  t.ok((await received).equals(content), '10 MiB')
  t.equal(await server.stop(), 0)
  t.equal((await waiting.received).length, 0)
  t.equal(server.errors(), '')
})

// ---- udp-echo ----

withRing(t, 'udp-echo sends datagrams back to whom they came from', async t => {
  const server = await serve(t, 'udp-echo.ts')
  const clients = Array.from({ length: 8 }, async (_, i) => {
    const socket = createSocket('udp4')
    // All of the longest at once would not fit into the server's receive buffer.
    for (const size of [0, 1, 1000 + i, i === 0 ? 65507 : 10_000]) {
      const content = randomBytes(size)
      socket.send(content, server.port, '127.0.0.1')
      const [back] = await once(socket, 'message')
      t.ok(content.equals(back), `client ${i}, ${size} bytes`)
    }
    socket.close()
  })
  await Promise.all(clients)
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(t, 'a server says when its address is taken', async t => {
  const server = await serve(t, 'tcp-echo.ts')
  const { code, stderr } = await run(t, 'tcp-echo.ts', ['--port', String(server.port)])
  t.equal(code, 1)
  t.match(stderr, /^bind failed: EADDRINUSE\nusage: tcp-echo\.ts /)
  t.equal(await server.stop(), 0)
})

// ---- http-static ----

interface Answer {
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly reused: boolean
}

function get(port: number, path: string, method = 'GET', agent?: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { port, host: '127.0.0.1', path, method, agent: agent ?? false },
      answer => {
        const { statusCode: status, headers } = answer
        buffer(answer).then(
          body => resolve({ status, headers, body, reused: sent.reusedSocket }),
          reject,
        )
      },
    )
    sent.on('error', reject)
    sent.end()
  })
}

interface Site {
  readonly server: Server
  readonly large: Buffer
}

/** A directory with something to find, and something outside of it that must not be found. */
async function site(t: Test): Promise<Site> {
  const folder = temporaryFolder(t)
  const root = join(folder, 'root')
  const large = randomBytes(TEN_MIB)
  mkdirSync(join(root, 'sub'), { recursive: true })
  mkdirSync(`${root}-beside`)
  writeFileSync(join(folder, 'secret'), 'secret')
  writeFileSync(join(`${root}-beside`, 'secret'), 'secret')
  writeFileSync(join(root, 'index.html'), '<p>root')
  writeFileSync(join(root, 'sub', 'index.html'), '<p>sub')
  writeFileSync(join(root, 'ä b.txt'), 'text')
  writeFileSync(join(root, 'empty.css'), '')
  writeFileSync(join(root, 'large'), large)
  symlinkSync('index.html', join(root, 'inside.html'))
  symlinkSync('../secret', join(root, 'outside'))
  symlinkSync('../root-beside', join(root, 'beside'))
  symlinkSync('/dev/zero', join(root, 'device'))
  execFileSync('mkfifo', [join(root, 'fifo')])
  return { server: await serve(t, 'http-static.ts', [root]), large }
}

withRing(t, 'http-static serves files, and HEAD without their bodies', async t => {
  const { server, large } = await site(t)
  const found: [string, string, string][] = [
    ['/', '<p>root', 'text/html; charset=utf-8'],
    ['/?query=/../x', '<p>root', 'text/html; charset=utf-8'],
    ['/sub/', '<p>sub', 'text/html; charset=utf-8'],
    ['/inside.html', '<p>root', 'text/html; charset=utf-8'],
    ['/%C3%A4%20b.txt', 'text', 'text/plain; charset=utf-8'],
    ['/empty.css', '', 'text/css; charset=utf-8'],
  ]
  for (const [path, body, type] of found) {
    const { status, headers, body: got } = await get(server.port, path)
    t.same([status, String(got), headers['content-type']], [200, body, type], path)
    const head = await get(server.port, path, 'HEAD')
    t.same([head.status, head.body.length], [200, 0], `HEAD ${path}`)
    t.equal(head.headers['content-length'], String(Buffer.byteLength(body)))
  }
  const { headers, body } = await get(server.port, '/large')
  t.equal(headers['content-type'], 'application/octet-stream')
  t.ok(body.equals(large), '10 MiB')
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(
  t,
  'http-static answers what it cannot give, and nothing outside its directory',
  async t => {
    const { server } = await site(t)
    const hidden = ['/none', '/sub', '/large/', '/a%00b', '/outside', '/beside/secret']
    const special = ['/device', '/fifo', '/sub/%2e']
    const climbing = ['/../secret', '/%2e%2e/secret', '/sub/../../secret', '/sub/..%2f..%2fsecret']
    const more = ['/..', '//../secret', '/%2e%2e%2froot-beside/secret', '/..%5csecret']
    for (const path of [...hidden, ...special, ...climbing, ...more]) {
      const { status, body } = await get(server.port, path)
      t.same([status, String(body)], [404, '404 Not Found\n'], path)
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers } = await get(server.port, '/', method)
      t.same([status, headers.allow], [405, 'GET, HEAD'], method)
    }
    t.equal((await get(server.port, '/%zz')).status, 400)
    t.equal(await server.stop(), 0)
    t.equal(server.errors(), '')
  },
)

withRing(t, 'http-static keeps connections, and answers requests that come at once', async t => {
  const { server } = await site(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.equal((await get(server.port, '/', 'GET', agent)).reused, false)
  const paths = ['/none', '/', '/large', '/empty.css']
  for (const path of paths) t.ok((await get(server.port, path, 'GET', agent)).reused, path)
  agent.destroy()

  const next = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
  const sent = next('/') + next('/sub/') + next('/none') + next('/', 'Connection: close\r\n')
  const answers = String(await exchange(server.port, sent)).split(/(?=HTTP\/1\.1 )/)
  const bodies = answers.map(answer => answer.split('\r\n\r\n')[1])
  t.same(bodies, ['<p>root', '<p>sub', '404 Not Found\n', '<p>root'])

  const { socket, received } = dial(server.port)
  for (const byte of next('/', 'Connection: close\r\n')) {
    socket.write(byte)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  t.match(String(await received), /<p>root$/, 'a byte at a time')
  t.match(
    String(await exchange(server.port, 'GET / HTTP/1.0\r\n\r\n')),
    /\r\nConnection: close\r\n/,
  )
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(t, 'http-static refuses what is no request, and what is too long', async t => {
  const { server } = await site(t)
  const refused: [string, number][] = [
    ['nonsense\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\n\r\n', 400],
    ['GET / HTTP/2.0\r\nHost: x\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost : x\r\n\r\n', 400],
    ['GET / HTTP/1.1\nHost: x\n\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nContent-Length: 0\r\n\r\n', 400],
    ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello', 413],
    ['POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 413],
    [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(8192)}\r\n\r\n`, 431],
    [`GET /${'x'.repeat(100_000)}`, 431],
    ['\0'.repeat(8192), 431],
  ]
  for (const [sent, status] of refused) {
    const { socket, received } = dial(server.port)
    socket.write(sent)
    const got = String(await received)
    t.match(got, new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(sent.slice(0, 60)))
    t.equal(got.split('HTTP/1.1').length, 2, 'one answer, and the connection ends')
  }
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(t, 'http-static serves many at once, and goes on when some go abruptly', async t => {
  const { server, large } = await site(t)
  const aborted = resetSome(server.port, 'GET /large HTTP/1.1\r\nHost: x\r\n\r\n')
  const clients = Array.from({ length: 16 }, async (_, i) => {
    const { body } = await get(server.port, i % 2 === 0 ? '/large' : '/')
    return i % 2 === 0 ? body.equals(large) : String(body) === '<p>root'
  })
  t.same(await Promise.all(clients), new Array(16).fill(true))
  await aborted
  const half = dial(server.port)
  half.socket.write('GET / HT')
  await once(half.socket, 'connect')
  t.equal(String((await get(server.port, '/')).body), '<p>root')
  t.equal(await server.stop(), 0, 'also with a request half sent')
  t.equal((await half.received).length, 0)
  t.equal(server.errors(), '')
})

withRing(t, 'http-static gives up a request that does not come to its end', async t => {
  const { server } = await site(t)
  const started = Date.now()
  const { socket, received } = dial(server.port)
  socket.write('GET / HTTP/1.1\r\n')
  const drip = setInterval(() => socket.write('x'), 1000)
  t.equal((await received).length, 0)
  clearInterval(drip)
  t.ok(Date.now() - started < 15_000, 'also one that gets longer all the time')
  t.equal(await server.stop(), 0)
  t.equal(server.errors(), '')
})

withRing(t, 'http-static serves the root directory too', async t => {
  const server = await serve(t, 'http-static.ts', ['/'])
  const path = fileURLToPath(import.meta.url)
  t.ok((await get(server.port, encodeURI(path))).body.equals(readFileSync(path)))
  t.equal(await server.stop(), 0)
})
