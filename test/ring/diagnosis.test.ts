import t from 'tap'
import { explain, lookAround, noIoUring, type Surroundings } from '../../src/ring/diagnosis.ts'

const EPERM = -1
const ENOMEM = -12
const EACCES = -13
const EINVAL = -22
const ENFILE = -23
const EMFILE = -24
const ENOSYS = -38

const LINUX: Surroundings = {
  platform: 'linux',
  disabledSysctl: '0',
  seccompMode: 0,
  kernel: '6.18.0',
}

interface Row {
  readonly name: string
  readonly errno: number
  readonly around: Partial<Surroundings>
  readonly reason: RegExp
  readonly remedy: RegExp
}

const sysctl = { reason: /io_uring_disabled is [12]/, remedy: /sysctl -w .*io_uring_group/ }
const seccomp = { reason: /seccomp filter/, remedy: /allow io_uring_setup.*seccomp=FILE/ }
const kernel = { reason: /kernel 6\.18\.0 has no usable io_uring/, remedy: /5\.10 or newer/ }
const unknown = { reason: /refused a ring/, remedy: /io_uring_setup\(2\)/ }

const ROWS: readonly Row[] = [
  {
    name: 'not Linux',
    errno: ENOSYS,
    around: { platform: 'darwin' },
    reason: /darwin/,
    remedy: /Linux/,
  },
  { name: 'sysctl 1', errno: EPERM, around: { disabledSysctl: '1' }, ...sysctl },
  { name: 'sysctl 2', errno: EPERM, around: { disabledSysctl: '2' }, ...sysctl },
  {
    name: 'sysctl 2, and a filter',
    errno: EPERM,
    around: { disabledSysctl: '2', seccompMode: 2 },
    ...sysctl,
  },
  { name: 'a filter (Docker)', errno: EPERM, around: { seccompMode: 2 }, ...seccomp },
  { name: 'a filter (Podman)', errno: ENOSYS, around: { seccompMode: 2 }, ...seccomp },
  { name: 'a filter, EACCES', errno: EACCES, around: { seccompMode: 2 }, ...seccomp },
  {
    name: 'a filter, no sysctl',
    errno: EPERM,
    around: { seccompMode: 2, disabledSysctl: undefined },
    ...seccomp,
  },
  { name: 'an old kernel', errno: ENOSYS, around: { disabledSysctl: undefined }, ...kernel },
  { name: 'no features', errno: EINVAL, around: {}, ...kernel },
  {
    name: 'a filter does not explain EINVAL',
    errno: EINVAL,
    around: { seccompMode: 2 },
    ...kernel,
  },
  {
    name: 'no locked memory',
    errno: ENOMEM,
    around: {},
    reason: /locked-memory/,
    remedy: /ulimit -l/,
  },
  { name: 'no descriptors', errno: EMFILE, around: {}, reason: /descriptors/, remedy: /ulimit -n/ },
  { name: 'no files', errno: ENFILE, around: {}, reason: /descriptors/, remedy: /ulimit -n/ },
  { name: 'nothing known', errno: EPERM, around: {}, ...unknown },
  {
    name: 'nothing known, no /proc',
    errno: EPERM,
    around: { seccompMode: undefined, disabledSysctl: undefined },
    ...unknown,
  },
]

for (const { name, errno, around, reason, remedy } of ROWS) {
  t.test(`why there is no ring: ${name}`, async t => {
    const found = explain(errno, { ...LINUX, ...around })
    t.match(found.reason, reason)
    t.match(found.remedy, remedy)
  })
}

t.test('the error names reason and remedy, and has the system error as its cause', async t => {
  const error = noIoUring({ errno: EMFILE, syscall: 'io_uring_setup' })
  t.equal(error.code, 'ERR_RIOLOG_NO_IO_URING')
  t.match(error.cause, { errno: EMFILE, syscall: 'io_uring_setup' })
  if (process.platform === 'linux') t.match(error.message, /descriptors.*Remedy:.*ulimit -n/)
  t.match(noIoUring(undefined).cause, { errno: ENOSYS })
})

t.test('the surroundings are read from this system', async t => {
  const around = lookAround()
  t.equal(around.platform, process.platform)
  if (process.platform !== 'linux') return
  t.match(around.kernel, /^\d+\.\d+/)
  t.ok([0, 1, 2].includes(around.seccompMode ?? 0))
})
