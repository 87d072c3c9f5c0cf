/** One at a time, in order, and nobody waits for one who has left. */

import { expect, test } from 'vitest'
import { createTurnstile } from './turnstile.js'

test('in order of arrival, one inside', async () => {
  const turnstile = createTurnstile()
  const order: number[] = []
  let inside = 0
  await Promise.all(
    [0, 1, 2, 3].map(async (i) => {
      const leave = await turnstile.enter()
      expect(++inside).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      order.push(i)
      inside--
      leave()
      leave()
    }),
  )
  expect(order).toEqual([0, 1, 2, 3])
  expect(turnstile.busy).toBe(false)
})

test('giving up while waiting, and before', async () => {
  const turnstile = createTurnstile()
  const leave = await turnstile.enter()
  const controller = new AbortController()
  const waiting = turnstile.enter(controller.signal)
  const next = turnstile.enter()
  controller.abort(new Error('bored'))
  await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
  await expect(turnstile.enter(controller.signal)).rejects.toMatchObject({ code: 'ABORTED' })
  leave()
  const leaveNext = await next
  expect(turnstile.busy).toBe(true)
  leaveNext()
  expect(turnstile.busy).toBe(false)
})
