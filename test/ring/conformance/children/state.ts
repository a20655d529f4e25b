/** What a process has, to compare it with what it had before. */
import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { addon } from '../../../../src/native.ts'
import { openDescriptors } from '../../../support/descriptors.ts'

export interface State {
  readonly files: number
  readonly threads: number
  readonly memory: number
}

export async function state(): Promise<State> {
  for (let i = 0; i < 10; i++) {
    global.gc?.()
    await delay(5)
  }
  return {
    files: openDescriptors(),
    threads: readdirSync('/proc/self/task').length,
    memory: addon().liveMemoryCount(),
  }
}

/** What there is more than before; asked again while it shrinks, since some things end later. */
export async function growthSince(before: State): Promise<State> {
  for (let i = 0; ; i++) {
    const after = await state()
    const growth = {
      files: after.files - before.files,
      threads: Math.max(0, after.threads - before.threads),
      memory: after.memory - before.memory,
    }
    const nothing = growth.files === 0 && growth.threads === 0 && growth.memory === 0
    if (nothing || i === 50) return growth
  }
}
