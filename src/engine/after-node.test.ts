/** Another user of the same library, here onnxruntime-node, may make the environment first: the pool cannot be shared then. */

import { expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { DOUBLING_MODEL } from './ffi/self-check.js'
import { engineInfo, openEngine } from './index.js'

test('ffi works after onnxruntime-node, and says that its threads are per session', async () => {
  for (const backend of ['node', 'ffi'] as const) {
    const engine = await openEngine({ backend, threads: 2 })
    const session = await engine.createSession({ bytes: DOUBLING_MODEL })
    const x = engine.tensor('float32', [3], Float32Array.of(1, 2, 3))
    const { y } = await session.run({ x })
    expect([...y!.data]).toEqual([2, 4, 6])
    for (const thing of [x, y!, session]) thing.dispose()
  }
  expect(await engineInfo({ backend: 'ffi' })).toMatchObject({ sharedThreadPool: false, threads: 2 })
  expect(liveHandles()).toEqual({})
})
