/** Ends the process in the midst of everything, in the way that its first argument names. */
import { doEverything } from './all-at-once.ts'

await doEverything()
const how = process.argv[2]
setTimeout(() => {
  if (how === 'exit') process.exit(7)
  if (how === 'throw') throw new Error('on purpose')
  if (how === 'SIGTERM') process.kill(process.pid, 'SIGTERM')
}, 30)
