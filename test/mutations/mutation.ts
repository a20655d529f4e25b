/** A safeguard taken out of the sources, and the tests of which at least one must then fail. */
export interface Mutation {
  /** The number of the rule, or the safeguard's group. */
  readonly rule: number | string
  readonly name: string
  /** Relative to the package; `from` stands in it, and its first occurrence becomes `to`. */
  readonly file: string
  readonly from: string
  readonly to: string
  readonly tests: readonly string[]
  /** Instead of tests: crashes of the log, of which one must be wrong within so many. */
  readonly hunt?: { readonly faults: string; readonly runs: number }
  /** Tests that miss what no crash shows. */
  readonly elsewhere?: readonly string[]
  /** Why no test can tell it from the original, where that is so. */
  readonly equivalent?: string
}
