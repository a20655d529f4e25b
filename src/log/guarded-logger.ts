import type { Logger } from 'pino'
import { throwUncaught } from '../uncaught.ts'

type Level = 'warn' | 'error'

/** What trouble is told to. */
export type GuardedLogger = Readonly<Record<Level, (details: object, message: string) => void>>

/** One whose errors are uncaught: its file may lie on the disk that has just failed, and others wait to be told of that, too. */
export function guarded(logger: Logger | undefined): GuardedLogger | undefined {
  if (logger === undefined) return undefined
  const at = (level: Level) => (details: object, message: string) => {
    try {
      logger[level](details, message)
    } catch (error) {
      throwUncaught(error)
    }
  }
  return { warn: at('warn'), error: at('error') }
}
