import { Writable } from 'node:stream'
import t from 'tap'
import { Output } from '../../src/cli/output.ts'

t.test('pieces are gathered, and a flush waits until they are written', async t => {
  const written: string[] = []
  let finishWrite = () => {}
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk))
      finishWrite = done
    },
  })
  const output = new Output(stream)
  t.equal(output.add([Buffer.from('a'), Buffer.from('b')]), false)
  t.equal(output.add([Buffer.from('c')]), false)
  t.same(written, [], 'small pieces wait for more')
  let flushed = false
  const flushing = output.flush().then(() => {
    flushed = true
  })
  await new Promise(resolve => setImmediate(resolve))
  t.same(written, ['abc'])
  t.equal(flushed, false, 'whoever reads is slow')
  finishWrite()
  await flushing
  await output.flush()
  t.same(written, ['abc'], 'nothing is written twice')
  t.equal(output.add([Buffer.alloc(64 * 1024)]), true, 'enough for a write')
})

t.test('a flush fails as its write does, and nothing else does', async t => {
  const gone = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
  const stream = new Writable({ write: (_chunk, _encoding, done) => done(gone) })
  const output = new Output(stream)
  output.add([Buffer.from('a')])
  await t.rejects(output.flush(), { code: 'EPIPE' })
  await new Promise(resolve => setImmediate(resolve))
  t.ok(stream.errored, 'the stream has told too')
})
