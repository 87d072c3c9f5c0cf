/** Makes what is compared, once: images of each quantisation, flashed ones, and re-encoded GGUF files under `<home>/bench`. */

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pullSource } from '../../dist/checkpoint/sources/index.js'
import { m4fmHome } from '../../dist/core/files.js'
import { sha256Hex } from '../../dist/core/hash.js'
import { cpuKey, openEngine } from '../../dist/engine/index.js'
import {
  buildFirmware,
  findRecipe,
  flashImage,
  imageName,
  openImage,
  readDevice,
  resolveImage,
  slotFolder,
} from '../../dist/firmware/index.js'
import { GGUFS } from './contenders.mjs'
import { reencodeGguf } from './gguf-write.mjs'
import { say, sayProgress } from './say.mjs'

export const home = m4fmHome()
const folder = join(home, 'bench')
const recipe = findRecipe('lite')

/**
 * Folder of the image with this quantisation, built when it is not there. An image of an older recipe counts as there: `rebuild`
 * makes it again; results carry the digest of what was measured.
 */
export async function imageOf(quantisation, { rebuild = false } = {}) {
  const path = join(home, 'images', imageName(recipe, quantisation))
  if (!rebuild && existsSync(join(path, 'manifest.json'))) return path
  say(`building ${imageName(recipe, quantisation)}`)
  const onProgress = ({ task, done, total }) => sayProgress(task, done, total)
  return (await buildFirmware(recipe, { home, quantisation, onProgress })).path
}

/** The same image flashed into a slot of its own device folder, weights prepacked for this CPU. */
export async function flashedImageOf(quantisation, threads) {
  const image = await imageOf(quantisation)
  const device = join(folder, `device-${quantisation}`)
  mkdirSync(device, { recursive: true })
  const engine = await openEngine({ backend: 'ffi', threads })
  const { digest } = await openImage(image)
  const { active, slots } = await readDevice(device)
  if (active && slots[active].state === 'good' && slots[active].digest === digest) {
    const slot = slotFolder(device, active)
    if ((await openImage(slot, { cpuKey: cpuKey(engine) })).prepacked) return slot
  }
  say(`flashing ${quantisation}`)
  await flashImage(image, {
    home: device,
    engine,
    onProgress: ({ task, done, total }) => sayProgress(task, done, total),
  })
  return resolveImage('device', { home: device })
}

/** Path of the GGUF of this name (see `GGUFS`), written when it is not there; another plan is another file. */
export async function ggufOf(name) {
  const source = await pullSource(recipe.modules.backbone.weights, { home })
  const { encoding, eightBit, fileType } = GGUFS[name]
  if (!encoding) return source
  const plan = sha256Hex(`${encoding} ${eightBit?.source}`).slice(0, 8)
  const path = join(folder, `tinyllama-${name}-${plan}.gguf`)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  say(`writing ${name}.gguf`)
  const choose = (tensor) => (eightBit?.test(tensor) ? 'Q8_0' : encoding)
  await reencodeGguf(source, path, { choose, fileType, onProgress: (done, total) => sayProgress(name, done, total) })
  return path
}
