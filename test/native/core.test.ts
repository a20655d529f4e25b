/**
 * The tests of native/core, which need no Node: built by plain cmake into build-test and run here, one
 * assertion a case. Then again for arm64 under an emulator, for the other CPU's CRC instructions.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32c as referenceCrc32c } from '@node-rs/crc32'
import t from 'tap'
import { addon } from '../../src/native.ts'
import type { Test } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(command: string, args: readonly string[]): Outcome {
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 } as const
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, options)
  const why = error ? String(error) : signal ? `killed by ${signal}` : ''
  return { status, stdout: stdout ?? '', stderr: `${stderr ?? ''}${why}` }
}

/** The first of these programs that runs, undefined when none is installed. */
function find(...names: string[]): string | undefined {
  return names.find(name => run(name, ['--version']).status === 0)
}

/** Builds the test program and returns its path; undefined after a failure has been reported. */
function build(t: Test, folder: string, options: readonly string[]): string | undefined {
  const out = join(root, folder)
  const steps = [
    ['-S', root, '-B', out, '-DCMAKE_BUILD_TYPE=Release', ...options],
    ['--build', out, '--target', 'riolog_core_test', '--parallel', '2'],
  ]
  for (const step of steps) {
    const { status, stdout, stderr } = run('cmake', step)
    if (status === 0) continue
    t.fail(`cmake ${step.join(' ')}`, { output: `${stdout}\n${stderr}` })
    return undefined
  }
  return join(out, 'riolog_core_test')
}

/** One assertion for each line that the program prints; returns what it says of itself. */
function report(t: Test, { status, stdout, stderr }: Outcome): string[] {
  const remarks: string[] = []
  let cases = 0
  for (const line of stdout.split('\n')) {
    const [, verdict, name, reason] = /^(ok|not ok|skip|#) (.*?)(?: # (.*))?$/.exec(line) ?? []
    if (verdict === '#') remarks.push(name)
    if (verdict === 'ok') t.pass(name)
    if (verdict === 'skip') t.pass(name, { skip: reason ?? true })
    if (verdict === 'not ok') t.fail(name, { stderr })
    if (verdict !== '#' && verdict !== undefined) cases++
  }
  t.ok(cases > 0, 'there are cases')
  t.equal(status, 0, `exit code${status === 0 ? '' : `: ${stderr}`}`)
  return remarks
}

t.test('native/core', async t => {
  if (find('cmake') === undefined) return void t.pass('native/core', { skip: 'needs cmake' })
  const program = build(t, 'build-test', [])
  if (program !== undefined) report(t, run(program, []))
})

t.test('native/core on arm64', async t => {
  const compiler = find('aarch64-linux-gnu-g++')
  const emulator = find('qemu-aarch64-static', 'qemu-aarch64')
  if (find('cmake') === undefined || compiler === undefined || emulator === undefined) {
    const skip = 'needs cmake, aarch64-linux-gnu-g++ and qemu-aarch64'
    return void t.pass('native/core on arm64', { skip })
  }
  const program = build(t, 'build-test-arm64', [
    '-DCMAKE_SYSTEM_NAME=Linux',
    '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    '-DCMAKE_EXE_LINKER_FLAGS=-static',
  ])
  if (program === undefined) return
  const remarks = report(t, run(emulator, ['-cpu', 'max', program]))
  t.same(remarks, ['crc32c runs as armv8-crc'])
})

t.test("the addon's crc32c agrees with another implementation", async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const { crc32c } = addon()
  let wrong = 0
  for (let round = 0; round < 2000; round++) {
    const length = random.int(0, round % 10 === 0 ? 100_000 : 300)
    const bytes = Uint8Array.from({ length }, () => random.int(0, 255))
    const from = random.int(0, length)
    const to = random.int(from, length)
    const before = random.int(0, 0xffffffff)
    const wanted = referenceCrc32c(bytes.subarray(from, to), before)
    if (crc32c(before, bytes, from, to) !== wanted) wrong++
  }
  t.equal(wrong, 0)
  t.equal(crc32c(0, Buffer.from('123456789'), 0, 9), 0xe3069283)
  t.throws(() => crc32c(0, new Uint8Array(8), 4, 9), RangeError)
  t.throws(() => crc32c(0, new Uint8Array(8), 5, 4), RangeError)
})
