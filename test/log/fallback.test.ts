/**
 * Where io_uring cannot be had. Run where it can, these are skipped by name;
 * `npm run test:no-uring` turns it off for the whole suite.
 */
import t from 'tap'
import { Log } from '../../src/index.ts'
import { Ring } from '../../src/ring/index.ts'
import { temporaryDirectory, whyNoRing } from '../support/engines.ts'

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
