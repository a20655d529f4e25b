/** What recycling loses when one of its safeguards is taken out. */
import type { Mutation } from './mutation.ts'

const tests = ['test/log/recycle.test.ts']
const pool = 'src/log/recycle-pool.ts'

export const MUTATIONS: readonly Mutation[] = [
  {
    rule: 'pool',
    name: 'a file with a second name is kept',
    file: pool,
    from: 'file.size() === fileBytes && file.links() === 1 &&',
    to: 'file.size() === fileBytes &&',
    tests,
  },
  {
    rule: 'pool',
    name: 'a second name is not looked for when the file is taken',
    file: pool,
    from: 'if (file.links() === 1 && file.isNamed()) {',
    to: 'if (file.isNamed()) {',
    tests,
  },
  {
    rule: 'pool',
    name: 'a locked file is kept',
    file: pool,
    from: ' && file.tryLock()\n',
    to: '\n',
    tests,
  },
  {
    rule: 'pool',
    name: 'a short file is kept',
    file: pool,
    from: 'file.size() === fileBytes && ',
    to: '',
    tests,
  },
  {
    rule: 'pool',
    name: 'no limit',
    file: 'src/log/log.ts',
    from: 'most: options.recycledSegments,',
    to: 'most: Infinity,',
    tests,
  },
  {
    rule: 'order',
    name: 'the recycled segment keeps its old salt',
    file: 'src/log/segment-maker.ts',
    from: 'salt: randomSalt(),',
    to: 'salt: { low: 1, high: 1 },',
    tests: ['test/log/recycle.test.ts', 'test/log/power-cut.test.ts'],
    equivalent: 'the LSN alone tells an old group from a new one, while no number is used twice',
  },
  {
    rule: 'order',
    name: 'the header of a recycled segment is not synced',
    file: 'src/log/segment-maker.ts',
    from: '      await file.sync()\n',
    to: '',
    tests,
  },
  {
    rule: 'order',
    name: 'the rename of a recycled segment is not synced',
    file: 'src/log/segment-maker.ts',
    from: '      await this.#directory.sync()\n',
    to: '',
    tests,
  },
  {
    rule: 'order',
    name: 'files are freed before the manifest is told of the trim',
    file: 'src/log/log.ts',
    from: '    await writer.updateManifest(() => ({ trimLsn: lsn }))\n',
    to: '    void writer.updateManifest(() => ({ trimLsn: lsn }))\n    await null\n',
    tests,
  },
  {
    rule: 'readers',
    name: 'a scan jumps over what was trimmed',
    file: 'src/log/reader.ts',
    from: 'const next = segment.retired\n',
    to: 'const next = false\n',
    tests,
  },
]
