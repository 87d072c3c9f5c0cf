/** Command line of the benchmark of pictures on real data: `npm run bench:pictures -- [parts] --data <folder of data sets>`. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { m4fmHome } from '../dist/core/files.js'
import { openEngine } from '../dist/engine/index.js'
import { buildFirmware, findRecipe } from '../dist/firmware/index.js'
import { openFirmware } from '../dist/runtime/index.js'
import { CIFAR10_ADAPTER_PROTOCOL, CIFAR10_PROTOCOL, cifar10, cifar10Adapter } from './lib/pictures-cifar10.mjs'
import { GTSRB_PROTOCOL, gtsrb } from './lib/pictures-gtsrb.mjs'
import { IMAGENET_PROTOCOL, imagenet } from './lib/pictures-imagenet.mjs'
import { openResult } from './lib/results.mjs'

const PARTS = Object.freeze({
  imagenet: { protocol: IMAGENET_PROTOCOL, run: imagenet },
  cifar10: { protocol: CIFAR10_PROTOCOL, run: cifar10 },
  'cifar10-adapter': { protocol: CIFAR10_ADAPTER_PROTOCOL, run: cifar10Adapter },
  gtsrb: { protocol: GTSRB_PROTOCOL, run: gtsrb },
})

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string', default: join(import.meta.dirname, '..', '..', 'shared', 'data') },
    image: { type: 'string' },
  },
})
const unknown = positionals.find((part) => !Object.hasOwn(PARTS, part))
if (unknown !== undefined || !existsSync(values.data)) {
  console.error(unknown === undefined ? `No folder ${values.data}.` : `Parts: ${Object.keys(PARTS).join(', ')}.`)
  process.exit(2)
}

/** What pictures need of `lite`, and nothing more. */
async function pictureImage() {
  const { modules, ...lite } = findRecipe('lite')
  const { IMG, TXT } = modules
  const out = join(m4fmHome(), 'bench', 'images', 'lite-pictures')
  return (await buildFirmware({ ...lite, name: 'lite-pictures', modules: { IMG, TXT } }, { out })).path
}

const image = values.image ?? (await pictureImage())
const engine = await openEngine()
for (const part of positionals.length ? positionals : Object.keys(PARTS)) {
  const { data, save } = openResult(`pictures-${part}`, PARTS[part].protocol)
  const firmware = await openFirmware(image, { engine })
  await PARTS[part].run({ firmware, image, folder: values.data, data, save })
  firmware.dispose()
  save(true)
  console.log(part, JSON.stringify(data, null, 1))
}
process.exit(0)
