export type RaftErrorCode =
  /** What is stored contradicts itself, or is of a newer version: nothing is guessed. */
  | 'ERR_RAFT_CORRUPT'
  /** A leader contradicts what is in a snapshot, and so committed: one of the two is no Raft server. */
  | 'ERR_RAFT_COMMITTED'
  /** The entry is in a snapshot, and no longer in the log: send the snapshot. */
  | 'ERR_RAFT_COMPACTED'
  /** The term is over: whoever proposes in it leads no more. */
  | 'ERR_RAFT_STALE_TERM'
  | 'ERR_RAFT_NO_ENTRY'

export class RaftError extends Error {
  override readonly name = 'RaftError'
  readonly code: RaftErrorCode

  constructor(code: RaftErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
