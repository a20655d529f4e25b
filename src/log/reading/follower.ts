/**
 * What a read-only log sees of a writer in another process or thread: it takes no lock and writes
 * nothing. All that it shows is proven durable, by the manifest or by a group that was sealed later.
 */
import type { Clock } from '../../disk/clock.ts'
import type { DiskFile } from '../../disk/disk.ts'
import { CorruptionError, logClosed } from '../../errors.ts'
import { Window } from '../../segment/window.ts'
import type { Codec } from '../records/codec.ts'
import { lookUntilWhole, type Opened } from '../recovery/opening.ts'
import { provenFrom } from '../recovery/verdict.ts'
import { lookForFirstGroup } from '../segments/live-chain.ts'
import { readManifest } from '../segments/manifest-file.ts'
import { Reader } from './reader.ts'
import type { More, Source } from './scan.ts'

/** A read within what is known looks for trims and rewinds after this long, in milliseconds. */
const STALE_MS = 20

/** The log as one update of the manifest tells. Its files stay open for as long as somebody reads. */
export class View {
  readonly opened: Opened
  readonly reader: Reader
  end: number
  #users = 0
  #isReplaced = false
  #closing: Promise<void> | undefined
  #isClosed = false

  constructor(opened: Opened, codec: Codec) {
    this.opened = opened
    this.end = opened.end
    this.reader = new Reader(
      opened.chain,
      codec,
      () => opened.manifest.trimLsn,
      () => this.end,
    )
  }

  enter(): void {
    this.#users++
  }

  leave(): void {
    this.#users--
    if (this.#isReplaced && this.#users === 0) void this.close()
  }

  /** There is a newer one: this one ends with its last user. */
  replace(): void {
    this.#isReplaced = true
    if (this.#users === 0) void this.close()
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.reader.idle()
    this.opened.chain.close()
    this.#isClosed = true
  }
}

export class Follower {
  readonly #clock: Clock
  readonly #codec: Codec
  readonly #manifest: DiskFile
  readonly #views = new Set<View>()
  #view: View
  #window: Window | undefined
  #lookedAt: number
  #ended = false
  #running: Promise<unknown> = Promise.resolve()
  #queued: Promise<View> | undefined

  /** @param manifest the file, open for reading; it is closed at the end */
  constructor(clock: Clock, opened: Opened, codec: Codec, manifest: DiskFile) {
    this.#clock = clock
    this.#lookedAt = clock.now()
    this.#codec = codec
    this.#manifest = manifest
    this.#view = new View(opened, codec)
    this.#views.add(this.#view)
  }

  /** As it was seen last. */
  get view(): View {
    return this.#view
  }

  /** A look at the disk that begins after this call; those who ask meanwhile share one. */
  look(): Promise<View> {
    this.#queued ??= this.#running.then(() => {
      this.#queued = undefined
      const looking = this.#look()
      this.#running = looking.catch(() => {})
      return looking
    })
    return this.#queued
  }

  /** @throws what {@link Reader.read} throws */
  read(lsn: number): Promise<Buffer> {
    const isFresh = this.#clock.now() - this.#lookedAt < STALE_MS
    const known = isFresh && lsn < this.#view.end ? this.#view : undefined
    return this.inView(({ reader }) => reader.read(lsn), known)
  }

  /**
   * Runs something in one state of the log, which stays as it is meanwhile. The writer may have taken its files
   * again all the same: where damage is met, what another look shows counts.
   * @param known where to begin, if not with a look
   */
  async inView<T>(run: (view: View) => Promise<T>, known?: View): Promise<T> {
    let view = known ?? (await this.look())
    let tried: View | undefined
    for (;;) {
      let damage: unknown
      view.enter()
      try {
        return await run(view)
      } catch (error) {
        if (!isDamage(error)) throw error
        damage = error
      } finally {
        view.leave()
      }
      view = await this.look()
      // Evidence before data: the manifest is the same, and the place has been read again.
      if (view === tried) throw damage
      tried = view
    }
  }

  /** For a scan: one view from its beginning to its end, as long as that verifies. */
  scanned(): Source {
    const held = new Held(this)
    let hasBegun = false
    return {
      more: async () => {
        if (hasBegun) return undefined
        hasBegun = true
        return held.take(await this.look())
      },
      again: error => held.again(error),
      end: () => held.end(),
    }
  }

  /** For a tail: waits until something behind is durable. @param check throws when it is to end */
  tailed(pollMs: number, check: () => void): Source {
    const held = new Held(this)
    return {
      more: async reached => {
        for (;;) {
          check()
          const view = await this.look()
          check()
          const more = held.take(view)
          if (more === undefined || view.end > reached) return more
          await this.#clock.sleep(pollMs)
        }
      },
      again: error => held.again(error),
      end: () => held.end(),
    }
  }

  /** Closes all files, once nothing is being read. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#queued?.catch(() => {})
    await this.#running
    for (const view of this.#views) await view.close()
    this.#manifest.close()
  }

  async #look(): Promise<View> {
    if (this.#ended) throw logClosed()
    const view = this.#view
    const found = await readManifest(this.#manifest)
    const { update } = view.opened.manifest
    if (found.kind === 'good' && found.manifest.update === update) await this.#extend(view)
    else await this.#renew()
    this.#lookedAt = this.#clock.now()
    return this.#view
  }

  /** The manifest is as it was: there may be more groups. */
  async #extend(view: View): Promise<void> {
    const { chain } = view.opened
    this.#window ??= new Window(chain.alignment)
    await lookForFirstGroup(chain)
    view.end = Math.max(view.end, await provenFrom(view.end, chain, this.#window))
  }

  /** The writer prepared a segment, closed, was opened again, trimmed or rewound. */
  async #renew(): Promise<void> {
    const before = this.#view
    const opened = await lookUntilWhole(before.opened.directory, this.#manifest)
    this.#view = new View(opened, this.#codec)
    before.replace()
    for (const view of this.#views) if (view.isClosed) this.#views.delete(view)
    this.#views.add(this.#view)
  }
}

/** The view that an iterator reads from. */
class Held {
  readonly #follower: Follower
  #view: View | undefined
  #tried: View | undefined
  #ended = false

  constructor(follower: Follower) {
    this.#follower = follower
  }

  /** Undefined when the iterator was left meanwhile. */
  take(view: View): More | undefined {
    if (this.#ended) return undefined
    if (view !== this.#view) {
      view.enter()
      this.#view?.leave()
      this.#view = view
    }
    return { to: view.end, reader: view.reader }
  }

  /** After damage: what to try instead, once for each view; undefined when the manifest is the same. */
  async again(error: unknown): Promise<More | undefined> {
    if (!isDamage(error)) return undefined
    const view = await this.#follower.look()
    if (view === this.#tried) return undefined
    this.#tried = view
    return this.take(view)
  }

  end(): void {
    this.#ended = true
    this.#view?.leave()
    this.#view = undefined
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof CorruptionError
}
