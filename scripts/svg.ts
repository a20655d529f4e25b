import * as vega from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'

/** A plot as SVG, without a browser. */
export function svgOf(spec: TopLevelSpec): Promise<string> {
  return new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' }).toSVG()
}
