/** For what callers' code throws where it is told of something: uncaught, as it is of an EventTarget's listener, and no concern of the teller's. */
export function throwUncaught(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}
