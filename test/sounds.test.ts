/** One set of weights, two views: sounds through the middle layers of the Whisper that writes down speech. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { normalSource } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, type Recipe, verifyImage } from '../src/firmware/index.js'
import { graphsToPrepack } from '../src/firmware/prepack.js'
import { openImage } from '../src/firmware/image.js'
import { architecture, pooledLayers } from '../src/models/index.js'
import { encodeWav16 } from '../src/media/index.js'
import { type Firmware, type Item, openFirmware } from '../src/runtime/index.js'

const noise = (count: number, seed: number) => Float32Array.from({ length: count }, normalSource(seed), 0)
