/** Plans that once failed, as the harness has shrunk and printed them. */
import t from 'tap'
import { LOG_SCENARIO, type Plan, replayCrash } from '../../src/crash/index.ts'

const power = (seed: number, sectorBytes: 512 | 4096 = 512) =>
  ({ kind: 'power', sectorBytes, fates: '', seed }) as const
const life = { phase: 'workload', steps: [], faults: [], hasPageCache: false } as const

const PLANS: Record<string, Plan> = {
  // Seed 17016, after 920,903 crashes. The simulated disk's fault: the write of a commit failed, and whoever
  // held up the thread for that commit before the failure was told went on to its sync, which succeeded.
  'a full disk beside flushSync': {
    lives: [
      { ...life, seed: 1494812534, crashAt: 14, survivors: power(285215027) },
      {
        ...life,
        seed: 2129049400,
        steps: [{ do: 'append', bytes: 0 }, { do: 'sleep', ms: 0.011 }, { do: 'flushSync' }],
        faults: [{ kind: 'enospc', from: 26, seed: 1509739576 }],
        crashAt: 63,
        survivors: power(208795616, 4096),
      },
    ],
  },
  // The look at the second copy fails; the update that waits for its turn must not write another one of that number.
  'an update of the manifest fails, and another one waits behind it': {
    lives: [
      {
        phase: 'workload',
        seed: 298665382,
        steps: [
          { do: 'append', bytes: 14517 },
          { do: 'append', bytes: 9325 },
          { do: 'append', bytes: 219 },
          { do: 'batch', bytes: [4523, 111, 13748, 73] },
          { do: 'wait' },
          { do: 'trim', at: 258 },
          { do: 'reopen' },
        ],
        faults: [{ kind: 'eio-read', from: 56, seed: 558551871 }],
        hasPageCache: false,
        crashAt: 62,
        survivors: { kind: 'power', sectorBytes: 4096, fates: 'n', seed: 1020084316 },
      },
    ],
  },
}

for (const [name, plan] of Object.entries(PLANS)) {
  t.test(name, async () => replayCrash(LOG_SCENARIO, plan))
}
