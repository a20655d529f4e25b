import { readFileSync } from 'node:fs'
import t from 'tap'
import { ERROR_CODES, errnoName, fromNodeError, RiologError, SystemError } from '../src/errors.ts'

t.test('docs/ERRORS.md names just the codes that there are', async t => {
  const page = readFileSync(new URL('../docs/ERRORS.md', import.meta.url), 'utf8')
  const named = [...page.matchAll(/^### (ERR_RIOLOG_\w+)$/gm)].map(match => match[1])
  t.same(named.sort(), [...ERROR_CODES].sort())
})

t.test('system errors are as Node has them', async t => {
  const error = new SystemError(-28, 'write', '/a')
  t.type(error, RiologError)
  t.equal(error.code, 'ERR_RIOLOG_NO_SPACE')
  t.equal(error.errno, -28)
  t.equal(error.errnoName, 'ENOSPC')
  t.equal(new SystemError(-5, 'fsync').code, 'ERR_RIOLOG_SYSTEM')
  t.equal(errnoName(-99999), 'errno 99999')
  t.equal(errnoName(-11), 'EAGAIN', 'by which retries go')
  try {
    readFileSync('/does/not/exist')
  } catch (cause) {
    const ours = fromNodeError(cause) as SystemError
    t.equal(ours.errnoName, 'ENOENT')
    t.equal(ours.syscall, 'open')
    t.equal(ours.cause, cause)
    t.equal(fromNodeError(ours), ours)
  }
})
