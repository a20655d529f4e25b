/**
 * A reader that keeps up with a writer in another process: it takes no lock and writes nothing. What it
 * shows is proven durable, by the manifest or by a group that was sealed later.
 */
import { setTimeout } from 'node:timers/promises'
import type { Disk, DiskFile } from '../disk/disk.ts'
import { RiologError } from '../errors.ts'
import { Window } from '../segment/window.ts'
import type { Codec } from './codec.ts'
import { lookForFirstGroup } from './live-chain.ts'
import { MANIFEST_NAME } from './manifest.ts'
import { readManifest } from './manifest-file.ts'
import { type Opened, openForReading } from './opening.ts'
import { Reader } from './reader.ts'
import { provenFrom } from './recovery.ts'

interface View {
  readonly opened: Opened
  readonly manifest: DiskFile
  readonly reader: Reader
  end: number
}

export class Follower {
  readonly #disk: Disk
  readonly #path: string
  readonly #codec: Codec
  readonly #pollMs: number
  #window: Window | undefined
  #view: View | undefined
  #ended = false
  #step: Promise<unknown> = Promise.resolve()

  constructor(disk: Disk, path: string, codec: Codec, pollMs: number) {
    this.#disk = disk
    this.#path = path
    this.#codec = codec
    this.#pollMs = pollMs
  }

  /**
   * Waits until something behind `reached` is durable.
   * @param check called before each look; throws when the wait is to end
   * @returns the new end, and who reads up to it
   */
  async more(reached: number, check: () => void): Promise<{ to: number; reader: Reader }> {
    for (;;) {
      check()
      this.#refuseIfEnded()
      const looking = this.#look()
      this.#step = looking.catch(() => {})
      const { reader, end } = await looking
      check()
      this.#refuseIfEnded()
      if (end > reached) return { to: end, reader }
      await setTimeout(this.#pollMs)
    }
  }

  /** Gives up its files, once nothing is being read. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#step
    await this.#drop()
  }

  #refuseIfEnded(): void {
    if (this.#ended) throw new RiologError('ERR_RIOLOG_CLOSED', 'the tail was ended')
  }

  async #look(): Promise<View> {
    const view = this.#view
    if (view === undefined || (await this.#hasMoved(view))) return this.#openView()
    const { chain } = view.opened
    this.#window ??= new Window(chain.alignment)
    await lookForFirstGroup(chain)
    view.end = Math.max(view.end, await provenFrom(view.end, chain, this.#window))
    return view
  }

  /** The writer prepared a segment, closed, was opened again, trimmed or rewound. */
  async #hasMoved({ opened, manifest }: View): Promise<boolean> {
    const found = await readManifest(manifest)
    return found.kind !== 'good' || found.manifest.update !== opened.manifest.update
  }

  async #openView(): Promise<View> {
    await this.#drop()
    const opened = await openForReading(this.#disk, this.#path, { follows: true })
    try {
      const manifest = await opened.directory.open(MANIFEST_NAME, 'read', 0)
      const reader: Reader = new Reader(
        opened.chain,
        this.#codec,
        () => opened.manifest.trimLsn,
        () => view.end,
      )
      const view: View = { opened, manifest, reader, end: opened.end }
      this.#view = view
      if (this.#ended) await this.#drop()
      return view
    } catch (error) {
      opened.chain.close()
      opened.directory.close()
      throw error
    }
  }

  async #drop(): Promise<void> {
    const view = this.#view
    this.#view = undefined
    if (view === undefined) return
    await view.reader.idle()
    view.opened.chain.close()
    view.manifest.close()
    view.opened.directory.close()
  }
}
