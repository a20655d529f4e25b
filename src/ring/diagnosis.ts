import { readFileSync } from 'node:fs'
import { errnoName, RiologError, SystemError } from '../errors.ts'

export interface Surroundings {
  platform: string
  /** The text of /proc/sys/kernel/io_uring_disabled, where there is one (Linux >= 6.6). */
  disabledSysctl: string | undefined
  /** The mode from the `Seccomp:` line of /proc/self/status; 2 is a filter. */
  seccompMode: number | undefined
  kernel: string
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

export function lookAround(): Surroundings {
  const seccomp = /^Seccomp:\s*(\d+)/m.exec(readText('/proc/self/status') ?? '')
  return {
    platform: process.platform,
    disabledSysctl: readText('/proc/sys/kernel/io_uring_disabled'),
    seccompMode: seccomp ? Number(seccomp[1]) : undefined,
    kernel: readText('/proc/sys/kernel/osrelease') ?? 'unknown',
  }
}

/**
 * Why io_uring cannot be had, and what to do. The errno alone does not tell: a container's seccomp
 * profile answers EPERM or ENOSYS, just as the sysctl or an old kernel do.
 */
export function explain(errno: number, around: Surroundings): { reason: string; remedy: string } {
  const name = errnoName(errno)
  if (around.platform !== 'linux') {
    return {
      reason: `io_uring is a Linux interface, this is ${around.platform}`,
      remedy: 'use Linux',
    }
  }
  const refused = name === 'EPERM' || name === 'EACCES'
  if (refused && (around.disabledSysctl === '1' || around.disabledSysctl === '2')) {
    return {
      reason: `the sysctl kernel.io_uring_disabled is ${around.disabledSysctl}`,
      remedy:
        'run `sysctl -w kernel.io_uring_disabled=0`, or join kernel.io_uring_group if it is 1',
    }
  }
  if ((refused || name === 'ENOSYS') && around.seccompMode === 2) {
    return {
      reason: `a seccomp filter of this container refuses io_uring_setup (${name})`,
      remedy:
        'allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile ' +
        '(docker run --security-opt seccomp=FILE)',
    }
  }
  if (name === 'ENOSYS' || name === 'EINVAL') {
    return {
      reason: `kernel ${around.kernel} has no usable io_uring (${name})`,
      remedy: 'use Linux 5.10 or newer, with CONFIG_IO_URING',
    }
  }
  if (name === 'ENOMEM') {
    return {
      reason: 'the locked-memory limit leaves no room for a ring',
      remedy: 'raise it (ulimit -l), or use Linux 5.12 or newer, which does not count it',
    }
  }
  if (name === 'EMFILE' || name === 'ENFILE') {
    return { reason: 'no file descriptors are left', remedy: 'raise the limit (ulimit -n)' }
  }
  return { reason: `the system refused a ring (${name})`, remedy: 'see io_uring_setup(2)' }
}

/** @param failure what the native constructor threw; undefined where there is no ring at all */
export function noIoUring(failure: { errno: number; syscall: string } | undefined): RiologError {
  const errno = failure?.errno ?? -38 // ENOSYS
  const { reason, remedy } = explain(errno, lookAround())
  const cause = new SystemError(errno, failure?.syscall ?? 'io_uring_setup')
  return new RiologError('ERR_RIOLOG_NO_IO_URING', `no io_uring: ${reason}. Remedy: ${remedy}.`, {
    cause,
  })
}
