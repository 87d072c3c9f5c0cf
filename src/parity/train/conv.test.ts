/** Convolutions, group norm and a small U-net against PyTorch: outputs and all gradients. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { runParity } from '../run-case.js'

const FOLDERS = ['../../../test/goldens/', '../../../../shared/goldens/'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
)
const find = (name: string) => FOLDERS.map((folder) => join(folder, name)).find((path) => existsSync(path))

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

describe.each(['train-conv', 'train-unet-block'])('%s', (name) => {
  const folder = find(name)
  test.skipIf(!folder)('outputs and gradients', async () => {
    const report = await runParity(folder!)
    expect(report.error).toBeUndefined()
    expect(report.outputs.filter(({ pass }) => !pass)).toEqual([])
    expect(report.pass).toBe(true)
    console.log(name, report.outputs.length, report.outputs.map((o) => `${o.name} ${o.maxAbs}`).join('\n'))
  })
})
