/** Finds the file of the native part: built here, or made before and shipped in the package. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve, sep } from 'node:path'
import packageRoot from '../package-root.cjs'
import { RiologError } from './errors.ts'

/** @throws ERR_RIOLOG_NO_ADDON, which names all places that were looked at, and what to run */
export function loadAddonFile(): unknown {
  const failures: { place: string; why: string; cause?: unknown }[] = []
  for (const place of places()) {
    if (!existsSync(place)) {
      failures.push({ place, why: 'not there' })
      continue
    }
    try {
      return createRequire(place)(place)
    } catch (cause) {
      failures.push({ place, why: String((cause as Error)?.message ?? cause), cause })
    }
  }
  const tried = failures.map(({ place, why }) => `${place} (${why})`).join(' and ')
  const cause = failures.find(failure => failure.cause !== undefined)?.cause
  throw new RiologError(
    'ERR_RIOLOG_NO_ADDON',
    `there is no native part of riolog that loads on ${platformName()}` +
      `${tried === '' ? '' : `; looked for ${tried}`}. ${remedy()}`,
    { cause },
  )
}

/** One after the other, since telling the platform's name takes a while where it is not needed. */
function* places(): Generator<string> {
  const named = process.env.RIOLOG_ADDON
  if (named !== undefined) return yield resolve(named)
  if (packageRoot === undefined) return
  // Who built it here wants that one.
  yield join(packageRoot, 'build', 'Release', 'riolog.node')
  yield join(packageRoot, 'prebuilds', platformName(), 'riolog.node')
}

/** As the folders of prebuilds/ are named: `linux-x64`, `linux-arm64-musl`. */
function platformName(): string {
  const libc = process.platform === 'linux' && !hasGlibc() ? '-musl' : ''
  return `${process.platform}-${process.arch}${libc}`
}

/** As Node itself says it: files like /etc/alpine-release are not on every system with musl. */
function hasGlibc(): boolean {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean }
  const { excludeNetwork } = report
  // It would look up a name for each open socket, which can take seconds.
  report.excludeNetwork = true
  try {
    const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
    return header.glibcVersionRuntime !== undefined
  } finally {
    if (excludeNetwork !== undefined) report.excludeNetwork = excludeNetwork
  }
}

function remedy(): string {
  if (process.env.RIOLOG_ADDON !== undefined) return 'RIOLOG_ADDON names this file.'
  if (packageRoot === undefined || !existsSync(join(packageRoot, 'CMakeLists.txt'))) {
    return (
      'riolog seems to be part of a bundle, which cannot hold it: make riolog external to the bundle, ' +
      'or let RIOLOG_ADDON name the file riolog.node.'
    )
  }
  const needs = 'it takes cmake, make and a C++20 compiler'
  if (!packageRoot.includes(`${sep}node_modules${sep}`)) {
    return `Build it with \`npm run build:native\` in ${packageRoot} (${needs}).`
  }
  return (
    `Build it where your package.json is (${needs}): ` +
    '`npm install --no-save cmake-js@8 node-addon-api@8` and then ' +
    `\`npm run build:native --prefix ${packageRoot}\`.`
  )
}
