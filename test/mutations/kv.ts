/** What the key-value store of examples/kv loses when one of its safeguards is taken out. */
import type { Mutation } from './mutation.ts'

const queue = 'examples/kv/src/write-queue.ts'
const store = 'examples/kv/src/store.ts'
const state = 'examples/kv/src/state.ts'
const record = 'examples/kv/src/record.ts'
const checkpoint = 'examples/kv/src/checkpoint.ts'
const writes = ['test/kv/store.test.ts']
const checkpoints = ['test/kv/checkpoint.test.ts']
const powerCuts = ['test/kv/power-cut.test.ts']

export const MUTATIONS: readonly Mutation[] = [
  {
    rule: 'durable',
    name: 'a write is acknowledged before it is durable',
    file: queue,
    from: 'if (sync && lsn >= durableLsn) break',
    to: 'void [sync, durableLsn]',
    tests: powerCuts,
  },
  {
    rule: 'durable',
    name: 'who waits for a commit that fails is not told',
    file: queue,
    from: 'for (const { reject } of this.#appended.splice(0)) reject(error)',
    to: 'void error',
    tests: writes,
  },
  {
    rule: 'durable',
    name: 'a checkpoint says what is not durable in the log',
    file: store,
    from: 'await this.#log.flush()',
    to: '',
    tests: checkpoints,
  },
  {
    rule: 'durable',
    name: 'the log is trimmed before the checkpoint is written',
    file: store,
    from: 'const bytes = await writeCheckpoint(',
    to: 'await this.#log.trim(state.lsn)\n    const bytes = await writeCheckpoint(',
    tests: powerCuts,
  },
  {
    rule: 'stored values',
    name: 'a trim takes values that are in the log only',
    file: store,
    from: 'Math.min(state.lsn, oldestLsn)',
    to: 'state.lsn + 0 * oldestLsn',
    tests: checkpoints,
  },
  {
    rule: 'stored values',
    name: 'a view holds nothing back',
    file: store,
    from: 'return { map: this.map, close: () => pin.release() }',
    to: 'pin.release()\n    return { map: this.map, close: () => {} }',
    tests: checkpoints,
  },
  {
    rule: 'stored values',
    name: 'values far back are never moved',
    file: store,
    from: 'value.lsn >= keptFrom',
    to: 'value.lsn >= 0 * keptFrom',
    tests: checkpoints,
  },
  {
    rule: 'order',
    name: 'a checkpoint begins, and moves values, in the middle of a replay',
    file: store,
    from: 'store.#apply(lsn, Buffer.from(data))',
    to: 'store.#apply(lsn, data)\n        store.#checkpointIfDue()',
    tests: checkpoints,
  },
  {
    rule: 'stored values',
    name: 'a move undoes what was written meanwhile',
    file: state,
    from: 'return isStored(value) && value.lsn === from',
    to: 'return isStored(value) && from >= 0',
    tests: checkpoints,
  },
  {
    rule: 'stored values',
    name: 'what is handed out is the memory of the store',
    file: store,
    from: ': Buffer.from(value)\n',
    to: ': value\n',
    tests: writes,
  },
  {
    rule: 'keys',
    name: 'a key is cut to bytes',
    file: 'examples/kv/src/bytes.ts',
    from: 'if (NO_BYTE.test(key))',
    to: 'if (false)',
    tests: ['test/kv/store.test.ts'],
  },
  {
    rule: 'damage',
    name: 'the checksum of a block is not looked at',
    file: checkpoint,
    from: 'if (checksum !== rest.readUInt32LE(4))',
    to: 'if (checksum < 0)',
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'a checkpoint without an end is taken for a whole one',
    file: checkpoint,
    from: "if (place !== 'behind')",
    to: "if (place === 'head')",
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'a checkpoint under the name of another LSN is believed',
    file: checkpoint,
    from: 'if (reader.varint() !== lsn)',
    to: 'if (reader.varint() < 0)',
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'a checkpoint of another log is believed',
    file: checkpoint,
    from: 'if (String(reader.chunk()) === uuid) return',
    to: 'if (reader.chunk().length === uuid.length) return',
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'a checkpoint that is missing is not missed',
    file: store,
    from: 'if (state.lsn < log.trimLsn)',
    to: 'if (state.lsn < 0)',
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'a checkpoint may be ahead of its log',
    file: store,
    from: 'if (state.lsn > log.durableLsn)',
    to: 'if (state.lsn < 0)',
    tests: checkpoints,
  },
  {
    rule: 'damage',
    name: 'records of another version are read as if they were of this one',
    file: record,
    from: 'if (version !== VERSION)',
    to: 'if (version < 0)',
    tests: writes,
  },
]
