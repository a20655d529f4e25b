/** What rounds come to. Figures of single rounds mean little: the machine's speed changes between them. */

/** Between the two nearest values, so that a few rounds do not shift the quartiles to one side. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const below = sorted[Math.floor(at)]
  return below + (sorted[Math.ceil(at)] - below) * (at % 1)
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** @returns the quartiles, as `0.81 to 0.93` */
export function spread(
  values: readonly number[],
  format = (value: number) => value.toFixed(2),
): string {
  return `${format(quantile(values, 0.25))} to ${format(quantile(values, 0.75))}`
}

/** Of the same round each, because what disturbs the machine then disturbs both. */
export function ratios(values: readonly number[], base: readonly number[]): number[] {
  if (values.length !== base.length) throw new Error('the rounds of both have to be the same')
  return values.map((value, round) => value / base[round])
}

/** @param sorted ascending; one at least */
export function percentile(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}
