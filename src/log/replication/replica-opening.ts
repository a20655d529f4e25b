/** Opens what is to be a copy: as for writing, but for the epoch, which is the source's. */
import type { Disk, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { segmentName } from '../../segment/format.ts'
import type { CheckedOptions } from '../options.ts'
import {
  checkDevice,
  goodManifest,
  liveNumbers,
  makeSure,
  mayCreate,
  openDirectory,
  openManifest,
  segmentNumbers,
} from '../recovery/opening.ts'
import { gatherFacts, judge } from '../recovery/verdict.ts'
import { type LiveChain, walkLiveChain } from '../segments/live-chain.ts'
import { NO_SEGMENT } from '../segments/manifest.ts'
import { ManifestFile, readManifest } from '../segments/manifest-file.ts'
import { dropFile } from '../segments/segment-file.ts'
import type { Progress } from './progress.ts'

/** What recovery found. */
export interface FoundCopy {
  readonly manifestFile: ManifestFile
  readonly chain: LiveChain
  readonly progress: Progress
}

export interface OpenedReplica {
  readonly directory: DiskDirectory
  /** Locked; empty until the first segment comes. */
  readonly manifest: DiskFile
  readonly found: FoundCopy | undefined
}

/** @throws what `Replica.open` documents */
export async function openReplica(
  disk: Disk,
  path: string,
  options: CheckedOptions,
): Promise<OpenedReplica> {
  const directory = await openDirectory(disk, path, { mode: options.directoryMode })
  let manifest: DiskFile | undefined
  try {
    manifest = await openManifest(disk, directory, options)
    const copies = await readManifest(manifest)
    const isNew = copies.kind === 'none' && (await mayCreate(directory, options))
    if (isNew) return { directory, manifest, found: undefined }
    const found = await recover(directory, new ManifestFile(manifest, ...goodManifest(copies)))
    return { directory, manifest, found }
  } catch (error) {
    manifest?.close()
    directory.close()
    throw error
  }
}

async function recover(directory: DiskDirectory, manifestFile: ManifestFile): Promise<FoundCopy> {
  const { file, current } = manifestFile
  checkDevice(file, current.alignment)
  const chain = await walkLiveChain(directory, current)
  try {
    const facts = await gatherFacts(current, chain)
    const verdict = judge(facts)
    if (verdict.kind === 'corruption') throw verdict.error
    await makeSure(directory, file, chain, current.floor)
    chain.endAt(facts.verifiedEnd)
    // What was prepared and not used gives way to what the source has under that number.
    const newest = chain.segments.at(-1)?.header ?? NO_SEGMENT
    const floor = Math.max(current.floor, verdict.end)
    await manifestFile.update({ newest, floor })
    await dropDead(directory, chain)
    // Also inside a batch: the source goes on behind what verifies.
    const [end, durableLsn] = [facts.verifiedEnd, verdict.end]
    const progress = { end, durableLsn, insideBatch: end !== durableLsn, hash: undefined }
    return { manifestFile, chain, progress }
  } catch (error) {
    chain.close()
    throw error
  }
}

/** Neither manifest copy reaches them any more. */
async function dropDead(directory: DiskDirectory, chain: LiveChain): Promise<void> {
  const live = liveNumbers(chain)
  for (const number of await segmentNumbers(directory, chain.segmentSize)) {
    if (!live.has(number)) await dropFile(directory, segmentName(number))
  }
}
