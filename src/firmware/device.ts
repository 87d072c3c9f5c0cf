/**
 * A device: two slots, one active, and the state file that says which is good. Layout under `<home>/device/`:
 *
 *   state.json        this, replaced in one rename: the only thing that makes a slot count
 *   slot-A, slot-B    a firmware image each (manifest.json, blobs/, prepacked/)
 *   slot.tmp-<pid>    being written; worthless after a crash
 *   flash.lock        held by the process that flashes or rolls back
 *
 * @see https://source.android.com/docs/core/ota/ab the same idea for whole systems
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'
import { acquireLock, atomicWriteFile, type FileLock } from '../core/files.js'

const DEVICE_FORMAT = 'm4fm-device/1'

export const SLOTS = ['A', 'B'] as const
export type Slot = (typeof SLOTS)[number]

/** `bad`: written, but its self-test has not passed. Only `good` slots are ever run. */
export type SlotRecord =
  | { readonly state: 'empty' }
  | {
      readonly state: 'good' | 'bad'
      /** sha-256 of the canonical manifest, 64 hex digits. */
      readonly digest: string
      readonly name: string
      readonly version: string
      readonly rollbackIndex: number
      /** ISO 8601, UTC. */
      readonly flashedAt: string
    }

export interface DeviceState {
  readonly format: typeof DEVICE_FORMAT
  readonly active: Slot | null
  /** The highest index that was ever active here; nothing below it runs again. */
  readonly rollbackIndex: number
  readonly slots: Readonly<Record<Slot, SlotRecord>>
}

export const EMPTY_DEVICE: DeviceState = Object.freeze({
  format: DEVICE_FORMAT,
  active: null,
  rollbackIndex: 0,
  slots: Object.freeze({ A: { state: 'empty' }, B: { state: 'empty' } } as const),
})

export const deviceFolder = (home: string): string => join(home, 'device')
export const slotFolder = (home: string, slot: Slot): string => join(deviceFolder(home), `slot-${slot}`)
export const otherSlot = (slot: Slot): Slot => (slot === 'A' ? 'B' : 'A')
const statePath = (home: string): string => join(deviceFolder(home), 'state.json')

/**
 * The state of the device under `home`; a device never flashed is `EMPTY_DEVICE`.
 * @throws M4Error `FORMAT_INVALID` when state.json is damaged, `IO`
 */
export async function readDevice(home: string): Promise<DeviceState> {
  const path = statePath(home)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const wrapped = wrapSystemError(error, `Reading ${path}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return EMPTY_DEVICE
    throw wrapped
  }
  return parseState(text, path)
}

/** Replaces state.json in one step. Call only while holding `lockDevice`. @throws M4Error `DISK_FULL`, `IO` */
export async function writeDevice(home: string, state: DeviceState): Promise<void> {
  await atomicWriteFile(statePath(home), `${JSON.stringify(state, null, 2)}\n`)
}

/** Keeps every other process from flashing or rolling back. @throws M4Error `LOCKED` naming the holder's pid */
export async function lockDevice(home: string): Promise<FileLock> {
  return acquireLock(join(deviceFolder(home), 'flash.lock'))
}

function parseState(text: string, path: string): DeviceState {
  const fail = (what: string): never => {
    throw new M4Error('FORMAT_INVALID', `${path}: ${what}`, {
      hint: 'Delete the folder "device" in M4FM_HOME and flash again; this forgets the rollback index.',
      details: { path },
    })
  }
  let value: Partial<DeviceState> | null = null
  try {
    value = JSON.parse(text) as Partial<DeviceState> | null
  } catch (error) {
    fail(`not JSON (${(error as Error).message}).`)
  }
  if (value?.format !== DEVICE_FORMAT)
    return fail(`expected format "${DEVICE_FORMAT}", got ${JSON.stringify(value?.format)}.`)
  const isIndex = (index: unknown) => Number.isSafeInteger(index) && (index as number) >= 0
  if (!isIndex(value.rollbackIndex)) fail('"rollbackIndex" must be a whole number, 0 or more.')
  for (const slot of SLOTS) {
    const record = value.slots?.[slot]
    if (record?.state === 'empty') continue
    if (record?.state !== 'good' && record?.state !== 'bad')
      return fail(`slot ${slot}: expected state good, bad or empty, got ${JSON.stringify(record?.state)}.`)
    const { digest, name, version, rollbackIndex, flashedAt } = record
    if (!/^[0-9a-f]{64}$/.test(digest)) fail(`slot ${slot}: digest ${JSON.stringify(digest)} is not 64 hex digits.`)
    if (![name, version, flashedAt].every((field) => typeof field === 'string'))
      fail(`slot ${slot}: name, version and flashedAt must be text.`)
    if (!isIndex(rollbackIndex)) fail(`slot ${slot}: "rollbackIndex" must be a whole number, 0 or more.`)
  }
  const { active } = value
  if (active !== null && !SLOTS.includes(active as Slot))
    fail(`"active" must be "A", "B" or null, got ${JSON.stringify(active)}.`)
  if (active && value.slots?.[active].state !== 'good') fail(`slot ${active} is active but not good.`)
  return value as DeviceState
}
