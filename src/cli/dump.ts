/** `riolog dump`: segments, groups and records as the files hold them, whole or damaged. */
import type { Command } from 'commander'
import { Codec } from '../log/records/codec.ts'
import type {
  StoredBytes,
  Surveyed,
  SurveyedGroup,
  SurveyedSegment,
} from '../log/recovery/survey.ts'
import {
  RECORD_COMPRESSED,
  RECORD_CONTINUATION,
  RECORD_ENCRYPTED,
  RECORD_GOES_ON,
} from '../segment/group.ts'
import { addKeys, encryptionOf, type KeyOptions } from './keys.ts'
import { Output } from './output.ts'
import { corruptionOf, lineOf, surveyed, toldOf } from './surveyed.ts'
import { parseLsn } from './values.ts'

interface DumpOptions extends KeyOptions {
  readonly from?: number
  readonly to?: number
  readonly json?: true
}

const SHOWN_BYTES = 40
const READS = { writes: false }

export function addDump(program: Command): void {
  const command = program
    .command('dump')
    .description('segments, groups and records as they stand in the files, also of a damaged log')
    .argument('<dir>', 'directory of the log; better not in use')
    .option('--from <lsn>', 'only what ends behind this LSN', parseLsn)
    .option('--to <lsn>', 'only what begins before this LSN', parseLsn)
    .option('--json', 'print one line of JSON for each, data in base64')
  addKeys(command).action(dump)
}

async function dump(dir: string, options: DumpOptions): Promise<void> {
  const { from = 0, to = Infinity, json } = options
  const opened = openerOf(options)
  await surveyed(dir, async survey => {
    const output = new Output()
    const show = (fields: object, line: () => string) =>
      output.add([Buffer.from(`${json ? JSON.stringify(fields) : line()}\n`)])
    let damage = survey.manifestProblem === undefined ? undefined : corruptionOf(survey)
    const { uuid, floor, pinned, trimLsn, epoch, update } = survey.manifest
    const state = { uuid, epoch, update, floor, pinned, trimLsn, problem: survey.manifestProblem }
    show({ kind: 'manifest', ...state }, () => {
      const problem = state.problem === undefined ? '' : `, damaged: ${state.problem}`
      return `manifest epoch ${epoch}, floor ${floor}${pinned ? ' (pinned)' : ''}, trim LSN ${trimLsn}${problem}`
    })
    for await (const item of survey.items()) {
      if (item.kind === 'hole') damage ??= corruptionOf(survey, item)
      const [first, last] = rangeOf(item)
      if (last <= from || first >= to) continue
      switch (item.kind) {
        case 'segment':
          show(segmentFields(item), () => segmentLine(item))
          break
        case 'hole':
          show({ kind: 'hole', ...toldOf(item) }, () => lineOf(item))
          break
        case 'end':
          show(
            item,
            () => `end      LSN ${item.lsn}${item.isTorn ? ', behind it a torn tail' : ''}`,
          )
          break
        default:
          show(groupFields(item), () => groupLine(item))
          for (const stored of item.records()) {
            const { lsn, flags } = stored
            if (lsn < from || lsn >= to) continue
            const data = opened(stored, item)
            const fields = { kind: 'record', lsn, length: data.length, stored: storedAs(flags) }
            show({ ...fields, data: data.toString('base64') }, () => recordLine(lsn, flags, data))
          }
      }
      await output.flush()
    }
    await output.flush()
    if (damage !== undefined) throw damage
  })
}

/** Bytes as they are stored, or with keys decrypted; what is compressed stays so. */
function openerOf(options: KeyOptions): (stored: StoredBytes, group: SurveyedGroup) => Buffer {
  const encryption = encryptionOf(options)
  if (encryption === undefined) return ({ bytes }) => Buffer.from(bytes)
  const acceptPlain = true // it shows what stands there
  const codec = new Codec(
    { compression: 'none', encryption: { ...encryption, acceptPlain } },
    READS,
  )
  return ({ bytes, flags, lsn }, { header }) =>
    codec.open(Buffer.from(bytes), flags, { header, lsn })
}

function rangeOf(item: Surveyed): [number, number] {
  switch (item.kind) {
    case 'segment':
      return [item.base, item.cut ?? item.base + item.header.fileBytes]
    case 'group':
      return [item.group.lsn, item.end]
    case 'hole':
      return [item.from, item.to]
    case 'end':
      return [item.lsn, Infinity]
  }
}

function segmentFields({ number, base, header, cut }: SurveyedSegment): object {
  const { epoch, fileBytes, parent } = header
  return { kind: 'segment', number, base, epoch, fileBytes, parent: parent.number, cut }
}

function segmentLine({ number, base, header, cut }: SurveyedSegment): string {
  const { epoch, fileBytes, parent } = header
  const ends = cut === undefined ? '' : `, ends at LSN ${cut}`
  return `segment  ${number} at LSN ${base}, ${fileBytes} bytes, epoch ${epoch}, parent ${parent.number}${ends}`
}

function groupFields({ segment, offset, group, end }: SurveyedGroup): object {
  return { kind: 'group', segment, offset, ...group, end }
}

function groupLine({ offset, group, end }: SurveyedGroup): string {
  const { lsn, recordCount, payloadBytes, durableLsn, previousEnd, batch } = group
  const part = ['', ', begins a batch', ', within a batch', ', ends a batch'][batch]
  return (
    `  group  LSN ${lsn} to ${end}, offset ${offset}, ${recordCount} records, ${payloadBytes} bytes, ` +
    `behind ${previousEnd}, durable ${durableLsn}${part}`
  )
}

/** How its bytes are to be taken; nothing for a plain and whole record. */
function storedAs(flags: number): string[] {
  return STORED_AS.flatMap(([flag, name]) => ((flags & flag) === 0 ? [] : [name]))
}

const STORED_AS = [
  [RECORD_GOES_ON, 'goes on'],
  [RECORD_CONTINUATION, 'continuation'],
  [RECORD_COMPRESSED, 'compressed'],
  [RECORD_ENCRYPTED, 'encrypted'],
] as const

function recordLine(lsn: number, flags: number, data: Buffer): string {
  const text = JSON.stringify(data.subarray(0, SHOWN_BYTES).toString('latin1'))
  const how = storedAs(flags)
    .map(name => `, ${name}`)
    .join('')
  const rest = data.length > SHOWN_BYTES ? '…' : ''
  return `    record LSN ${lsn}, ${data.length} bytes${how} ${text}${rest}`
}
