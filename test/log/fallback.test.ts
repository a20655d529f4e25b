/**
 * Where io_uring cannot be had. The first test is skipped by name where it can; `npm run test:no-uring` turns it
 * off for the whole suite. Behind it, a process of its own has a seccomp filter, as in a container.
 */
import { execFile, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { Log } from '../../src/index.ts'
import { Ring } from '../../src/ring/index.ts'
import { type Test, temporaryDirectory, whyNoRing } from '../support/engines.ts'

t.test('without io_uring the log works, and says so once', async t => {
  if ((await whyNoRing()) === undefined) {
    return void t.pass('needs a system without io_uring', { skip: 'io_uring is here' })
  }
  const warnings: Error[] = []
  process.on('warning', warning => warnings.push(warning))
  for (let i = 0; i < 2; i++) {
    const log = await Log.open(temporaryDirectory(t))
    t.equal(log.info().engine, 'threadpool')
    const lsn = await log.appendDurable(Buffer.from('works'))
    t.equal(String(await log.read(lsn)), 'works')
    await log.close()
  }
  await new Promise(resolve => setImmediate(resolve))
  const ours = warnings.filter(({ name }) => name === 'RiologWarning')
  t.equal(ours.length, 1, 'one warning a process')
  t.match(ours[0].message, /no io_uring: .+ Remedy: .+/)
  const open = Log.open(temporaryDirectory(t), { engine: 'uring' })
  await t.rejects(open, { code: 'ERR_RIOLOG_NO_IO_URING', message: /Remedy/ })
  t.throws(() => Ring.open(), { code: 'ERR_RIOLOG_NO_IO_URING', message: /Remedy/ })
})

t.test('with io_uring, auto takes it', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const log = await Log.open(temporaryDirectory(t))
  t.equal(log.info().engine, 'uring')
  await log.close()
})

const HERE = fileURLToPath(new URL('..', import.meta.url))
const PROFILE = fileURLToPath(new URL('../../docs/seccomp', import.meta.url))
/** The same on every architecture that has them (include/uapi/asm-generic/unistd.h). */
const NUMBERS = { io_uring_setup: 425, io_uring_enter: 426, io_uring_register: 427 }

interface Profile {
  readonly defaultAction: string
  readonly defaultErrnoRet: number
  readonly syscalls: readonly { readonly names: readonly string[]; readonly action: string }[]
}

/** As that of Docker and containerd is, in short: what no rule allows is answered with EPERM. */
const DOCKER: Profile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: constants.errno.EPERM,
  syscalls: [{ names: ['accept', 'io_setup', 'openat'], action: 'SCMP_ACT_ALLOW' }],
}
/** As that of Podman is, with a rule besides that refuses. */
const PODMAN: Profile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: constants.errno.ENOSYS,
  syscalls: [
    { names: ['accept', 'openat'], action: 'SCMP_ACT_ALLOW' },
    { names: ['io_uring_setup', 'kexec_load'], action: 'SCMP_ACT_ERRNO' },
  ],
}

/** The profile that docs/CONTAINERS.md tells to make. */
function allowed(t: Test, profile: Profile): Profile {
  const file = join(temporaryDirectory(t), 'default.json')
  writeFileSync(file, JSON.stringify(profile))
  const made = spawnSync(process.execPath, [join(PROFILE, 'allow-io-uring.mjs'), file])
  return JSON.parse(String(made.stdout))
}

t.test('the profile for containers allows three system calls more, and no others', async t => {
  const rule = JSON.parse(readFileSync(join(PROFILE, 'io-uring.json'), 'utf8'))
  t.same(rule, { names: Object.keys(NUMBERS), action: 'SCMP_ACT_ALLOW' })
  t.same(allowed(t, DOCKER), { ...DOCKER, syscalls: [...DOCKER.syscalls, rule] })
  t.same(allowed(t, allowed(t, DOCKER)), allowed(t, DOCKER), 'the second time nothing is left')
  const refused = { names: ['kexec_load'], action: 'SCMP_ACT_ERRNO' }
  const syscalls = [PODMAN.syscalls[0], refused, rule]
  t.same(allowed(t, PODMAN), { ...PODMAN, syscalls }, 'a rule that refuses one of them yields')
})

/** What `fallback-child.ts` tells under a profile; the filter says of io_uring what the profile says. */
async function under(t: Test, filter: string, profile: Profile) {
  const isAllowed = (name: string) =>
    profile.syscalls.some(rule => rule.names.includes(name) && rule.action === 'SCMP_ACT_ALLOW')
  const denied = Object.entries(NUMBERS).filter(([name]) => !isAllowed(name))
  const args = [
    String(profile.defaultErrnoRet),
    ...denied.map(([, number]) => String(number)),
    '--',
  ]
  const child = [`--import=${import.meta.resolve('tsx')}`, join(HERE, 'support/fallback-child.ts')]
  const program = [process.execPath, ...child, temporaryDirectory(t)]
  const { stdout } = await promisify(execFile)(filter, [...args, ...program])
  return JSON.parse(stdout)
}

t.test('under the seccomp filter of a container', async t => {
  const filter = join(temporaryDirectory(t), 'seccomp')
  const source = join(HERE, 'support/seccomp.c')
  const compiled = spawnSync(process.env.CC ?? 'cc', ['-o', filter, source])
  const works = spawnSync(filter, ['1', '--', process.execPath, '--version']).status === 0
  if (compiled.status !== 0 || !works) {
    return void t.pass('needs Linux, seccomp and a C compiler', { skip: 'cannot make a filter' })
  }
  const reason = await whyNoRing()

  for (const [name, errno, profile] of [
    ['Docker', 'EPERM', DOCKER],
    ['Podman', 'ENOSYS', PODMAN],
  ] as const) {
    const { logs, warnings, forced, ring } = await under(t, filter, profile)
    const threadpool = [
      ['threadpool', 'first'],
      ['threadpool', 'second'],
    ]
    t.same(logs, threadpool, `as of ${name}: the log works`)
    t.equal(warnings.length, 1, 'one warning a process')
    t.match(warnings[0], /no io_uring: .+ Remedy: /)
    t.equal(forced[0], 'ERR_RIOLOG_NO_IO_URING', 'unless it must have io_uring')
    t.equal(ring[0], 'ERR_RIOLOG_NO_IO_URING')
    // Where the sysctl turns it off as well, it is named first.
    if (reason === undefined) {
      const told = `a seccomp filter of this container refuses io_uring_setup (${errno})`
      t.match(warnings[0], told)
      t.match(ring[1], told)
    }
  }

  if (reason !== undefined) return void t.pass('the rest needs io_uring', { skip: reason })
  for (const profile of [DOCKER, PODMAN]) {
    const { logs, warnings, forced, ring } = await under(t, filter, allowed(t, profile))
    t.same(logs.flat(), ['uring', 'first', 'uring', 'second'], 'with the three allowed: io_uring')
    t.same(warnings, [])
    t.equal(forced ?? ring, undefined, 'also where it is asked for')
  }
})
