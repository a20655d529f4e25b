/**
 * `--key ID=FILE`: keys of an encrypted log. They come from files, never from the command line, which
 * others can read; and neither a key nor what was given in its place is ever repeated in a message.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { type Command, CommanderError } from 'commander'
import { fromNodeError, invalidArgument, SystemError } from '../errors.ts'
import type { LogOptions } from '../log/options.ts'
import { type EncryptionOptions, KEY_BYTES } from '../log/records/encryption.ts'

/** Of those commands that read or write records. */
export interface KeyOptions {
  readonly key?: readonly KeyFile[]
  readonly acceptPlain?: boolean
}

interface KeyFile {
  readonly id: number
  readonly path: string
}

const MAX_KEY_ID = 0xffffffff
/** Hex digits and a line end; one byte more tells that the file is longer. */
const MOST_BYTES = 2 * KEY_BYTES + 2
const HEX = new RegExp(`^[0-9a-f]{${2 * KEY_BYTES}}\\r?\\n?$`, 'i')
/** Permissions of others than the owner. */
const OTHERS = 0o077

export function addKeys(command: Command): Command {
  return command
    .option(
      '--key <id=file>',
      'a key of an encrypted log, in a file: 32 bytes or 64 hex digits; may be repeated, and the last ' +
        'one is for new records',
      parseKey,
    )
    .option('--accept-plain', 'with --key: take records that are not encrypted, too')
}

function parseKey(text: string, before: readonly KeyFile[] = []): KeyFile[] {
  const [, digits, path] = /^(\d{1,10})=(.+)$/s.exec(text) ?? []
  const id = Number(digits)
  // Not commander's own error, which repeats the argument: somebody may have given the key itself.
  if (path === undefined || id > MAX_KEY_ID) {
    throw badUsage(
      '--key takes ID=FILE: an ID from 0 to 4294967295, and the file that holds the key',
    )
  }
  if (before.some(each => each.id === id)) throw badUsage(`--key ${id} is given twice`)
  return [...before, { id, path }]
}

function badUsage(message: string): CommanderError {
  return new CommanderError(2, 'riolog.key', `error: ${message}`)
}

/**
 * What the log is opened with; undefined without keys.
 * @throws ERR_RIOLOG_INVALID_ARGUMENT, SystemError for a file that cannot be read
 */
export function encryptionOf({
  key = [],
  acceptPlain = false,
}: KeyOptions): EncryptionOptions | undefined {
  if (key.length === 0) {
    if (acceptPlain) throw badUsage('--accept-plain goes with --key')
    return undefined
  }
  const keys = new Map(key.map(file => [file.id, readKey(file)]))
  return { keyId: key.at(-1)!.id, key: id => keys.get(id), acceptPlain }
}

/** The same as a part of the log's options. */
export function encryptionOptions(options: KeyOptions): Pick<LogOptions, 'encryption'> {
  const encryption = encryptionOf(options)
  return encryption === undefined ? {} : { encryption }
}

function readKey({ id, path }: KeyFile): Uint8Array {
  const bytes = readBeginning(id, path)
  if (bytes.length === KEY_BYTES) return bytes
  const text = bytes.toString('latin1')
  bytes.fill(0)
  if (HEX.test(text)) return Buffer.from(text.slice(0, 2 * KEY_BYTES), 'hex')
  throw invalidArgument(`the file of key ${id} holds neither ${KEY_BYTES} bytes nor 64 hex digits`)
}

/** Bounded: it may be a pipe, or a file that is no key at all. */
function readBeginning(id: number, path: string): Buffer {
  const buffer = Buffer.alloc(MOST_BYTES + 1)
  let length = 0
  try {
    const fd = openSync(path, 'r')
    try {
      warnOfOthers(id, fd)
      for (let got = -1; got !== 0 && length < buffer.length; length += got) {
        got = readSync(fd, buffer, length, buffer.length - length, null)
      }
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    const cause = fromNodeError(error)
    if (!(cause instanceof SystemError)) throw error
    // Not its own message, which names the path: that may be the key.
    throw new SystemError(cause.errno, cause.syscall, `the file of key ${id}`)
  }
  return buffer.subarray(0, length)
}

function warnOfOthers(id: number, fd: number): void {
  const found = fstatSync(fd)
  if (!found.isFile() || (found.mode & OTHERS) === 0) return
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0')
  process.emitWarning(`the file of key ${id} is open to others than its owner (mode ${mode})`)
}
