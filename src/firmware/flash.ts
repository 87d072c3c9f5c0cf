/**
 * Installs an image on this device, like firmware: into the slot that is not running, proven before it counts.
 *
 *   source image ─ verify every digest ─ rollback index ─ free space
 *        └► slot.tmp-<pid>: blobs linked, manifest, weights prepacked for this CPU
 *             └► slot-B, state `bad` ─ self-test ─► state `good`, active B      (one rename of state.json)
 *
 * Whatever stops it in between, the active slot and its record are as they were. The other slot is emptied before writing:
 * a third copy of a 7B image would often not fit.
 */

import { mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { M4Error, throwIfAborted, wrapSystemError } from '../core/errors.js'
import { atomicWriteFile, freeBytes, linkOrCopy, makeReadOnly, requireFreeBytes, syncFolder } from '../core/files.js'
import type { LongOperation } from '../core/progress.js'
import { cpuKey } from '../engine/index.js'
import type { Engine } from '../engine/types.js'
import {
  type DeviceState,
  deviceFolder,
  lockDevice,
  otherSlot,
  readDevice,
  type Slot,
  type SlotRecord,
  slotFolder,
  writeDevice,
} from './device.js'
import { openImage, readManifest } from './image.js'
import { canonicalJson, type Manifest, type Role } from './manifest.js'
import { graphsToPrepack, PREPACK_RATIO, type PrepackReport, prepackImage } from './prepack.js'
import { type SelfTestReport, selfTest } from './self-test.js'
import { assertVerified } from './verify.js'

export interface FlashOptions extends LongOperation {
  readonly home: string
  /** Prepacks and runs the self-test. Backends other than `ffi` cannot prepack: the slot is then opened from its blobs. */
  readonly engine: Engine
  /** Default `PREPACK_MIN_BYTES`. */
  readonly prepackMinBytes?: number
  /** Modules to prepack; the others are opened from their blobs. Default: all. */
  readonly prepackRoles?: readonly Role[]
  /** How free disk space is measured; default the file system's word. */
  readonly measureFreeBytes?: (path: string) => Promise<number>
  /** There is no such option: a lower rollback index never runs on a device that saw a higher one. */
  readonly allowDowngrade?: never
}

export interface FlashReport {
  readonly slot: Slot
  readonly digest: string
  readonly name: string
  readonly version: string
  readonly rollbackIndex: number
  /** Bytes of blobs that share their disk space with the source image, and bytes that do not. */
  readonly linkedBytes: number
  readonly copiedBytes: number
  /** Undefined when the backend cannot prepack. */
  readonly prepacked: PrepackReport | undefined
  readonly selfTest: SelfTestReport
}

/**
 * Flashes the image in folder `imagePath` and makes it active.
 * @throws M4Error `LOCKED` naming the pid of the other flash, `DIGEST_MISMATCH`, `IMAGE_INVALID`, `ROLLBACK_REFUSED`,
 *   `DISK_FULL` with numbers, `SELF_TEST_FAILED` (the slot stays bad), `ABORTED`, `USAGE` for the slot to be written; the active slot is untouched after each.
 */
export async function flashImage(imagePath: string, options: FlashOptions): Promise<FlashReport> {
  const { home, engine, signal } = options
  const lock = await lockDevice(home)
  try {
    await removeLeftovers(home)
    const before = await readDevice(home)
    const source = resolve(imagePath)
    allowRollbackIndex(before, await readManifest(source), 'Flashing')
    const { manifest, digest } = await assertVerified(source, options)
    // Again, on what was verified: the file may have changed in between.
    allowRollbackIndex(before, manifest, 'Flashing')
    const slot = before.active ? otherSlot(before.active) : 'A'
    if ((await realpath(source)) === (await realpath(slotFolder(home, slot)).catch(() => undefined)))
      throw new M4Error('USAGE', `Slot ${slot} is the one to be written: it cannot be its own source.`, {
        hint: 'To run it again as it is, roll back; to write it anew, flash the image that it came from.',
      })
    const temporary = join(deviceFolder(home), `slot.tmp-${process.pid}`)
    try {
      await requireSpace(source, temporary, slot, manifest, options)
      throwIfAborted(signal)
      const emptied = await emptySlot(home, before, slot)
      const written = await writeSlot(source, temporary, manifest, options)
      throwIfAborted(signal)
      await publish(temporary, slotFolder(home, slot))
      const { name, version, rollbackIndex } = manifest
      const record = { digest, name, version, rollbackIndex, flashedAt: new Date().toISOString() }
      await writeDevice(home, withSlot(emptied, slot, { state: 'bad', ...record }))
      const flashed = await openImage(slotFolder(home, slot), written.prepacked ? { cpuKey: cpuKey(engine) } : {})
      const tested = await selfTest(flashed, options)
      await writeDevice(home, {
        ...withSlot(emptied, slot, { state: 'good', ...record }),
        active: slot,
        rollbackIndex: Math.max(before.rollbackIndex, rollbackIndex),
      })
      return { slot, digest, name, version, rollbackIndex, ...written, selfTest: tested }
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  } finally {
    await lock.release()
  }
}

/**
 * Makes the other slot active again, if it is good, whole and not below the device's rollback index.
 * @throws M4Error `NOT_AVAILABLE` when there is no good other slot, `ROLLBACK_REFUSED`, `IMAGE_INVALID`, `LOCKED`
 */
export async function rollback(home: string): Promise<DeviceState> {
  const lock = await lockDevice(home)
  try {
    const state = await readDevice(home)
    const target = state.active && otherSlot(state.active)
    const record = target ? state.slots[target] : undefined
    if (!target || record?.state !== 'good')
      throw new M4Error(
        'NOT_AVAILABLE',
        `There is no slot to roll back to: the other one is ${record?.state ?? 'empty'}.`,
        {
          hint: 'Flash the image that you want.',
          details: { active: state.active, other: record?.state ?? 'empty' },
        },
      )
    allowRollbackIndex(state, record, 'Rolling back')
    const { digest } = await openImage(slotFolder(home, target))
    if (digest !== record.digest)
      throw new M4Error('IMAGE_INVALID', `Slot ${target}: expected image ${record.digest}, got ${digest}.`, {
        hint: 'Flash the image that you want.',
        details: { slot: target, expected: record.digest, got: digest },
      })
    const rolledBack: DeviceState = { ...state, active: target }
    await writeDevice(home, rolledBack)
    return rolledBack
  } finally {
    await lock.release()
  }
}

const withSlot = (state: DeviceState, slot: Slot, record: SlotRecord): DeviceState => ({
  ...state,
  slots: { ...state.slots, [slot]: record },
})

function allowRollbackIndex(
  state: DeviceState,
  image: { readonly name: string; readonly version: string; readonly rollbackIndex: number },
  doing: string,
): void {
  if (image.rollbackIndex >= state.rollbackIndex) return
  throw new M4Error(
    'ROLLBACK_REFUSED',
    `${doing} to ${image.name} ${image.version}: expected a rollback index of ${state.rollbackIndex} or more, got ${image.rollbackIndex}.`,
    {
      hint: 'This device has run a later image; flash one with the same or a higher index.',
      details: { expected: state.rollbackIndex, got: image.rollbackIndex },
    },
  )
}

/** What a flash that was killed left behind. Only the holder of the lock may call this: then every such folder is dead. */
async function removeLeftovers(home: string): Promise<void> {
  for (const name of await readdir(deviceFolder(home)))
    if (name.startsWith('slot.tmp-')) await rm(join(deviceFolder(home), name), { recursive: true, force: true })
}

/** The record first, then the files: a crash in between leaves a slot that does not count. */
async function emptySlot(home: string, state: DeviceState, slot: Slot): Promise<DeviceState> {
  const emptied = withSlot(state, slot, { state: 'empty' })
  if (state.slots[slot].state !== 'empty') await writeDevice(home, emptied)
  await rm(slotFolder(home, slot), { recursive: true, force: true }).catch((error) => {
    throw wrapSystemError(error, `Emptying slot ${slot}`)
  })
  return emptied
}

/** Makes the temporary folder, finds out whether links work there, and whether all will fit once the slot is emptied. */
async function requireSpace(
  source: string,
  temporary: string,
  slot: Slot,
  manifest: Manifest,
  options: FlashOptions,
): Promise<void> {
  const { home, engine, measureFreeBytes = freeBytes } = options
  const blobs = Object.entries(manifest.blobs)
  const [probe] = blobs.sort(([, a], [, b]) => a.bytes - b.bytes)
  let copied = 0
  try {
    await mkdir(join(temporary, 'blobs'), { recursive: true })
  } catch (error) {
    throw wrapSystemError(error, `Making ${temporary}`)
  }
  if (probe && (await linkOrCopy(join(source, 'blobs', probe[0]), join(temporary, 'blobs', probe[0]))) === 'copied')
    copied = blobs.reduce((sum, [, { bytes }]) => sum + bytes, 0)
  const toPack = engine.backend === 'ffi' ? graphsToPrepack(manifest, prepackOptions(options)) : []
  const packed = toPack.reduce((sum, { dataBytes }) => sum + dataBytes * PREPACK_RATIO, 0)
  const needed = Math.ceil(copied + packed) + Buffer.byteLength(JSON.stringify(manifest))
  const freed = await ownBytes(slotFolder(home, slot))
  await requireFreeBytes(deviceFolder(home), needed, `Flashing ${manifest.name} ${manifest.version}`, async (path) => {
    return (await measureFreeBytes(path)) + freed
  })
}

const prepackOptions = ({ prepackMinBytes, prepackRoles }: FlashOptions) => ({
  ...(prepackMinBytes === undefined ? {} : { minBytes: prepackMinBytes }),
  ...(prepackRoles === undefined ? {} : { roles: prepackRoles }),
})

/** Bytes that removing `folder` gives back: files with one name only. */
async function ownBytes(folder: string): Promise<number> {
  let bytes = 0
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  for (const name of names) {
    const found = await stat(join(folder, name)).catch(() => undefined)
    if (found?.isFile() && found.nlink === 1) bytes += found.size
  }
  return bytes
}

async function writeSlot(
  source: string,
  folder: string,
  manifest: Manifest,
  options: FlashOptions,
): Promise<Pick<FlashReport, 'linkedBytes' | 'copiedBytes' | 'prepacked'>> {
  const { engine, onProgress, signal } = options
  const blobs = Object.entries(manifest.blobs)
  const total = blobs.reduce((sum, [, { bytes }]) => sum + bytes, 0)
  const bytesBy = { linked: 0, copied: 0 }
  for (const [name, { bytes }] of blobs) {
    throwIfAborted(signal)
    const target = join(folder, 'blobs', name)
    bytesBy[await linkOrCopy(join(source, 'blobs', name), target)] += bytes
    await makeReadOnly(target)
    onProgress?.({ task: 'write slot', done: bytesBy.linked + bytesBy.copied, total, unit: 'bytes' })
  }
  // Written from what was verified, so the slot's digest cannot be another.
  await atomicWriteFile(join(folder, 'manifest.json'), canonicalJson(manifest))
  // A link is the file that was verified; a copy is verified where it will be used.
  if (bytesBy.copied > 0) await assertVerified(folder, signal ? { signal } : {})
  const image = await openImage(folder)
  const prepacked =
    engine.backend === 'ffi'
      ? await prepackImage(image, {
          engine,
          cpuKey: cpuKey(engine),
          ...prepackOptions(options),
          ...(onProgress ? { onProgress } : {}),
          ...(signal ? { signal } : {}),
        })
      : undefined
  return { linkedBytes: bytesBy.linked, copiedBytes: bytesBy.copied, prepacked }
}

/** The finished slot gets its name in one step. */
async function publish(temporary: string, target: string): Promise<void> {
  try {
    await syncFolder(join(temporary, 'blobs'))
    await syncFolder(temporary)
    await rename(temporary, target)
    await syncFolder(resolve(target, '..'))
  } catch (error) {
    throw wrapSystemError(error, `Naming ${target}`)
  }
}
