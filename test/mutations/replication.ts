/** What a copy of a log loses when one of its safeguards is taken out. */
import type { Mutation } from './mutation.ts'

const copy = 'src/log/replication/copy.ts'
const chunk = 'src/log/replication/raw-chunk.ts'
const reader = 'src/log/replication/raw-reader.ts'
const replica = 'src/log/replication/replica.ts'
const opening = 'src/log/replication/replica-opening.ts'
const source = 'src/log/replication/source.ts'
const tests = [
  'test/log/replication/replication.test.ts',
  'test/log/replication/replication-power-cut.test.ts',
]

export const MUTATIONS: readonly Mutation[] = [
  {
    rule: 'order',
    name: 'groups are written before what they prove is durable',
    file: copy,
    from: 'const blocked = rest.findIndex(({ durableLsn }) => durableLsn > this.progress.end)',
    to: 'const blocked = -1 as number',
    tests,
  },
  {
    rule: 'order',
    name: 'a run is told before its sync',
    file: copy,
    from: `      await this.#health.orPoisoned(synced(file, this.#buffer, run, base))
      this.progress`,
    to: `      void synced(file, this.#buffer, run, base).catch(() => {})
      this.progress`,
    tests,
  },
  {
    rule: 'order',
    name: 'what lies behind a pinned end goes on not to count',
    file: copy,
    from: 'if (this.manifestFile.current.pinned) await this.#update({ pinned: false })',
    to: '',
    tests,
  },
  {
    rule: 'order',
    name: 'a segment goes on to end where the copy was pinned',
    file: copy,
    from: 'const writable = { ...segment, file, cut: segment.base + segment.header.fileBytes }',
    to: 'const writable = { ...segment, file }',
    tests,
  },
  {
    rule: 'order',
    name: 'the manifest names a segment whose name is not durable',
    file: copy,
    from: 'await this.#health.orPoisoned(this.#directory.sync())',
    to: '',
    tests,
  },
  {
    rule: 'order',
    name: 'the manifest names a segment whose header is not durable',
    file: copy,
    from: `      await this.#health.orPoisoned(synced(file, this.#buffer, groups, base))
      await this.#health.orPoisoned(file.sync())`,
    to: '      await this.#writeRun(file, base, [...groups, groups[0]])',
    tests,
  },
  {
    rule: 'order',
    name: 'the floor does not go with a new segment',
    file: copy,
    from: 'await this.#update({ newest: header, floor, pinned: false, epoch, ...trimLsn })',
    to: 'await this.#update({ newest: header, pinned: false, epoch, ...trimLsn })',
    tests,
  },
  {
    rule: 'order',
    name: 'a pin inside a batch',
    file: copy,
    from: 'const change = pinned && !this.progress.insideBatch ? { pinned } : {}',
    to: 'const change = pinned ? { pinned } : {}',
    tests,
  },
  {
    rule: 'order',
    name: 'opening does not make sure of what it found',
    file: opening,
    from: 'await makeSure(directory, file, chain, current.floor)',
    to: '',
    tests,
  },
  {
    rule: 'identity',
    name: 'a chunk of another log',
    file: copy,
    from: 'if (chunk.uuid !== uuid) {',
    to: 'if (false as boolean) {',
    tests,
  },
  {
    rule: 'identity',
    name: 'a chunk of an older epoch',
    file: copy,
    from: 'if (chunk.epoch < epoch) {',
    to: 'if (false as boolean) {',
    tests,
  },
  {
    rule: 'identity',
    name: 'a segment with another salt',
    file: copy,
    from: 'if (header === undefined || sameSalt(found.header.salt, header.salt)) return found',
    to: 'if (found !== undefined) return found',
    tests,
  },
  {
    rule: 'identity',
    name: 'what the copy has is not compared',
    file: copy,
    from: 'if (known !== undefined) await this.#compare(known)',
    to: '',
    tests,
  },
  {
    rule: 'identity',
    name: 'a segment may go on from any other',
    file: copy,
    from: 'return isThere && number === parent.number && sameSalt(salt, parent.salt)',
    to: 'return number > 0 || isThere',
    tests,
  },
  {
    rule: 'identity',
    name: 'the hash of the copy is not looked at',
    file: source,
    from: 'if (hash !== undefined && from !== 0) await refuseOther(raw, from, hash)',
    to: '',
    tests,
  },
  {
    rule: 'identity',
    name: 'a gap is not noticed',
    file: copy,
    from: 'if (first.lsn > end) throw',
    to: 'if (first.lsn < 0) throw',
    tests,
  },
  {
    rule: 'identity',
    name: 'groups need not follow each other',
    file: chunk,
    from: 'const follows = group.previousEnd === previousEnd && group.durableLsn <= previousEnd',
    to: 'const follows = group.previousEnd <= Infinity',
    tests,
  },
  {
    rule: 'identity',
    name: 'a chunk may end elsewhere',
    file: chunk,
    from: `if (previousEnd !== chunk.end) throw damaged(chunk, 0, 'it ends where its groups do not')`,
    to: '',
    tests,
  },
  {
    rule: 'source',
    name: 'a copy ahead of its source is told that it has all',
    file: reader,
    from: 'if (end > durableLsn) throw',
    to: 'if (end < 0) throw',
    tests,
  },
  {
    rule: 'source',
    name: 'a copy behind a trim gets what is left',
    file: reader,
    from: 'if (end < this.oldestLink) throw this.#trimmed(end)',
    to: '',
    tests,
  },
  {
    rule: 'health',
    name: 'a poisoned copy goes on',
    file: replica,
    from: `    this.#health.refuseIfPoisoned()
    this.#copy ??=`,
    to: '    this.#copy ??=',
    tests,
  },
  {
    rule: 'health',
    name: 'chunks are applied side by side',
    file: replica,
    from: 'const running = this.#last.then(run)',
    to: 'const running = run()',
    tests,
  },
]
