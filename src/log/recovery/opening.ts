/** What happens before a log is handed out: create or lock, judge, sync, stamp. */
import type { Disk, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { CorruptionError, isErrno, RiologError } from '../../errors.ts'
import {
  areDimensions,
  MAX_ALIGNMENT,
  MIN_ALIGNMENT,
  MIN_SEGMENT_SIZE,
  maxMetadataBytes,
  parseSegmentName,
  segmentOfEnd,
} from '../../segment/format.ts'
import { type CheckedOptions, DEFAULT_SEGMENT_SIZE } from '../options.ts'
import { futureVersion, type LiveChain, walkLiveChain } from '../segments/live-chain.ts'
import {
  MANIFEST_NAME,
  type Manifest,
  type ManifestVerdict,
  NO_SEGMENT,
} from '../segments/manifest.ts'
import { lockManifest, ManifestFile, readManifest } from '../segments/manifest-file.ts'
import { gatherFacts, judge, type Verdict } from './verdict.ts'

/** What the verdict was, and from what: `log.recovery`. */
export interface RecoveryReport {
  /**
   * How the log ended: `created` (there was none), `empty`, `clean end` (it was closed), `whole` (killed,
   * and nothing is torn) or `torn tail`. Corruption is an error.
   */
  readonly verdict: Verdict['kind'] | 'created'
  /** The end of the log as found. */
  readonly end: number
  /** The highest LSN that something on the disk proves to have been durable. */
  readonly provenLsn: number
  /** How many live segments there are. */
  readonly segments: number
  /** Where the torn tail begins; undefined when there is none. */
  readonly tornAt: { readonly segment: number; readonly offset: number } | undefined
  /** The manifest's copies were this many updates apart: one was lost. Undefined when they were not. */
  readonly manifestUpdatesApart: number | undefined
}

export interface Opened {
  readonly directory: DiskDirectory
  readonly manifest: Manifest
  readonly manifestFile: ManifestFile | undefined
  readonly chain: LiveChain
  readonly end: number
  readonly report: RecoveryReport
  /** Canonical segment files that the live chain does not meet. */
  readonly deadNumbers: readonly number[]
  /** The highest number of any canonical file or of the manifest. */
  readonly highestNumber: number
}

/** @throws what `Log.open` documents */
export async function openForWriting(
  disk: Disk,
  path: string,
  options: CheckedOptions,
): Promise<Opened> {
  const create = options.create ? { mode: options.directoryMode } : undefined
  const directory = await openDirectory(disk, path, create)
  let file: DiskFile | undefined
  let chain: LiveChain | undefined
  try {
    file = await openManifest(disk, directory, options)
    const found = await readManifest(file)
    const created = found.kind === 'none' && (await mayCreate(directory, options))
    if (created && (options.expectedEpoch ?? 0) !== 0) throw noLog(directory.path)
    const manifestFile = created
      ? await createLog(disk, directory, file, options)
      : new ManifestFile(file, ...goodManifest(found))
    const manifest = manifestFile.current
    const numbers = await segmentNumbers(directory, manifest.segmentSize)
    if (!created) checkAgainst(manifest, file, options)

    chain = await walkLiveChain(directory, manifest)
    const facts = await gatherFacts(manifest, chain)
    const verdict = judge(facts)
    if (verdict.kind === 'corruption') throw verdict.error
    await makeSure(directory, file, chain, manifest.floor)
    await manifestFile.update({ epoch: manifest.epoch + 1, floor: verdict.end, pinned: true })

    chain.endAt(verdict.end)
    const report: RecoveryReport = {
      verdict: created ? 'created' : verdict.kind,
      end: verdict.end,
      provenLsn: facts.evidence,
      segments: chain.segments.length,
      tornAt: verdict.kind === 'torn tail' ? facts.bad : undefined,
      manifestUpdatesApart: found.kind === 'good' ? found.updatesApart : undefined,
    }
    const live = liveNumbers(chain)
    const deadNumbers = numbers.filter(number => !live.has(number))
    const highestNumber = Math.max(0, manifest.newest.number, ...numbers)
    const { end } = verdict
    return {
      directory,
      manifest: manifestFile.current,
      manifestFile,
      chain,
      end,
      report,
      deadNumbers,
      highestNumber,
    }
  } catch (error) {
    chain?.close()
    file?.close()
    directory.close()
    throw error
  }
}

/** Of an opening for writing that came to nothing: the lock goes with the manifest's file. */
export function closeOpened({ chain, manifestFile, directory }: Opened): void {
  chain.close()
  manifestFile?.file.close()
  directory.close()
}

/** Opens without a lock and without a write, and shows only what is proven to have been durable. */
export async function openForReading(
  disk: Disk,
  path: string,
): Promise<{ opened: Opened; manifest: DiskFile }> {
  const directory = await openDirectory(disk, path, undefined)
  let manifest: DiskFile | undefined
  try {
    manifest = await openManifestForReading(directory)
    return { opened: await lookUntilWhole(directory, manifest), manifest }
  } catch (error) {
    manifest?.close()
    directory.close()
    throw error
  }
}

/**
 * The log as it is now. A writer beside it may be moving on: it may have written a group after its place
 * was read, and before the evidence was. So what looks damaged is looked at again, and the manifest too: it
 * is damage if the same place is bad again, behind the same manifest. Another place is progress of the
 * writer, however often. Segments behind the end stay in the chain: they may be the log's own soon.
 */
export async function lookUntilWhole(directory: DiskDirectory, file: DiskFile): Promise<Opened> {
  let badAt: number | undefined
  for (;;) {
    const seen = await readManifest(file)
    try {
      return await lookAround(directory, seen)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      const moved = !sameManifest(seen, await readManifest(file))
      if (!moved && error.lsn === badAt) throw error
      badAt = moved ? undefined : error.lsn
    }
  }
}

async function lookAround(directory: DiskDirectory, seen: ManifestVerdict): Promise<Opened> {
  if (seen.kind === 'none') throw await missingManifest(directory, undefined)
  const [manifest] = goodManifest(seen)
  const numbers = await segmentNumbers(directory, manifest.segmentSize)
  const chain = await walkLiveChain(directory, manifest)
  try {
    const facts = await gatherFacts(manifest, chain)
    const verdict = judge(facts)
    if (verdict.kind === 'corruption') throw verdict.error
    const end = Math.min(facts.provenEnd, verdict.end)
    const report: RecoveryReport = {
      verdict: verdict.kind,
      end: verdict.end,
      provenLsn: facts.evidence,
      segments: chain.segments.filter(({ base }) => base < end).length,
      tornAt: verdict.kind === 'torn tail' ? facts.bad : undefined,
      manifestUpdatesApart: undefined,
    }
    const live = liveNumbers(chain)
    const deadNumbers = numbers.filter(number => !live.has(number))
    const highestNumber = Math.max(0, manifest.newest.number, ...numbers)
    const manifestFile = undefined
    return { directory, manifest, manifestFile, chain, end, report, deadNumbers, highestNumber }
  } catch (error) {
    chain.close()
    throw error
  }
}

function sameManifest(a: ManifestVerdict, b: ManifestVerdict): boolean {
  if (a.kind !== 'good' || b.kind !== 'good') return a.kind === b.kind
  return a.manifest.update === b.manifest.update
}

export async function openDirectory(
  disk: Disk,
  path: string,
  create: { mode: number } | undefined,
): Promise<DiskDirectory> {
  try {
    return await disk.openDirectory(path, create)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) throw noLog(path, cause)
    if (isErrno(cause, 'ENOTDIR', 'EEXIST')) {
      throw new RiologError('ERR_RIOLOG_NOT_A_DIRECTORY', `${path} is not a directory`, { cause })
    }
    throw cause
  }
}

export async function openManifest(
  disk: Disk,
  directory: DiskDirectory,
  options: CheckedOptions,
): Promise<DiskFile> {
  try {
    const { create, mode, lockWaitMs } = options
    return await lockManifest(disk.clock, directory, create, mode, lockWaitMs)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) throw await missingManifest(directory, cause)
    throw cause
  }
}

async function openManifestForReading(directory: DiskDirectory): Promise<DiskFile> {
  try {
    return await directory.open(MANIFEST_NAME, 'read', 0)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) throw await missingManifest(directory, cause)
    throw cause
  }
}

async function missingManifest(directory: DiskDirectory, cause: unknown): Promise<Error> {
  const numbers = await segmentNumbers(directory)
  return numbers.length > 0 ? lostManifest(directory.path) : noLog(directory.path, cause)
}

/** No copy verifies. With segment files there, a log has lost its manifest; else there is no log yet. */
export async function mayCreate(
  directory: DiskDirectory,
  options: CheckedOptions,
): Promise<boolean> {
  if ((await segmentNumbers(directory)).length > 0) throw lostManifest(directory.path)
  if (!options.create) throw noLog(directory.path)
  return true
}

async function createLog(
  disk: Disk,
  directory: DiskDirectory,
  file: DiskFile,
  options: CheckedOptions,
): Promise<ManifestFile> {
  const alignment = Math.max(MIN_ALIGNMENT, file.alignment())
  const segmentSize = options.segmentSize ?? DEFAULT_SEGMENT_SIZE
  if (!areDimensions(segmentSize, alignment)) {
    throw new RiologError(
      'ERR_RIOLOG_ALIGNMENT',
      `the device asks for an alignment of ${alignment} bytes; a segment of ${segmentSize} bytes ` +
        `takes at most ${Math.min(MAX_ALIGNMENT, segmentSize / 4)}`,
    )
  }
  checkMetadata(options.metadata, alignment)
  const uuid = Buffer.from(disk.randomBytes(16)).toString('hex')
  return createManifest(directory, file, { uuid, segmentSize, alignment, epoch: 0 })
}

/** The first manifest of a log, durable together with its name. */
export async function createManifest(
  directory: DiskDirectory,
  file: DiskFile,
  made: Pick<Manifest, 'uuid' | 'segmentSize' | 'alignment' | 'epoch'>,
): Promise<ManifestFile> {
  const empty = { pinned: true, update: 1, newest: NO_SEGMENT, floor: 0, trimLsn: 0 }
  const manifestFile = await ManifestFile.create(file, { ...made, ...empty })
  await file.sync()
  await directory.sync()
  await directory.syncParent()
  return manifestFile
}

export function goodManifest(found: ManifestVerdict): [Manifest, 0 | 1] {
  switch (found.kind) {
    case 'good':
      return [found.manifest, found.copy]
    case 'future':
      throw futureVersion(MANIFEST_NAME, found.version)
    case 'conflict':
      throw manifestCorrupt('the copies of the manifest contradict each other')
    case 'none':
      throw manifestCorrupt('no copy of the manifest verifies')
  }
}

function checkAgainst(manifest: Manifest, file: DiskFile, options: CheckedOptions): void {
  if (options.segmentSize !== undefined && options.segmentSize !== manifest.segmentSize) {
    throw new RiologError(
      'ERR_RIOLOG_INVALID_OPTION',
      `segmentSize: the log was created with ${manifest.segmentSize}, not ${options.segmentSize}`,
    )
  }
  checkMetadata(options.metadata, manifest.alignment)
  const { expectedEpoch } = options
  if (expectedEpoch !== undefined && manifest.epoch !== expectedEpoch) {
    throw new RiologError(
      'ERR_RIOLOG_FENCED',
      `the log is in epoch ${manifest.epoch}, not ${expectedEpoch}: somebody has opened it since`,
    )
  }
  checkDevice(file, manifest.alignment)
}

/** @throws ERR_RIOLOG_ALIGNMENT */
export function checkDevice(file: DiskFile, alignment: number): void {
  const needed = file.alignment()
  if (needed <= alignment) return
  throw new RiologError(
    'ERR_RIOLOG_ALIGNMENT',
    `the device asks for an alignment of ${needed} bytes, the log was made for ${alignment}: copy its ` +
      'records to a new log on this device',
  )
}

/** Only now: what there is room for depends on the alignment. */
function checkMetadata({ length }: Uint8Array, alignment: number): void {
  const most = maxMetadataBytes(alignment)
  if (length <= most) return
  throw new RiologError(
    'ERR_RIOLOG_INVALID_OPTION',
    `metadata: ${length} bytes; a segment header of this log has room for ${most}`,
  )
}

/** What recovery relies upon may so far be only in a cache: it is synced before anything is shown. */
export async function makeSure(
  directory: DiskDirectory,
  manifest: DiskFile,
  chain: LiveChain,
  floor: number,
): Promise<void> {
  const from = floor === 0 ? 0 : segmentOfEnd(floor, chain.segmentSize)
  for (const segment of chain.segments) {
    if (segment.header.number >= from) await segment.file.sync()
  }
  await directory.sync()
  await directory.syncParent()
  await manifest.sync()
}

/** Before a manifest is read the segment size is not known: a name that fits any size counts. */
export async function segmentNumbers(
  directory: DiskDirectory,
  segmentSize: number = MIN_SEGMENT_SIZE,
): Promise<number[]> {
  const names = await directory.list()
  return names.flatMap(name => parseSegmentName(name, segmentSize) ?? [])
}

export function liveNumbers(chain: LiveChain): Set<number> {
  return new Set(chain.segments.map(segment => segment.header.number))
}

function manifestCorrupt(message: string): CorruptionError {
  return new CorruptionError(message, { segment: 0, offset: 0, lsn: 0 })
}

function lostManifest(path: string): CorruptionError {
  return manifestCorrupt(`${path} has segment files and no manifest that verifies`)
}

function noLog(path: string, cause?: unknown): RiologError {
  return new RiologError('ERR_RIOLOG_NO_LOG', `there is no log at ${path}`, { cause })
}
