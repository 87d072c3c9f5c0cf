/**
 * The model of stories.mjs in TensorFlow.js on its wasm backend, with the same AdamW written in tensor operations. `node tfjs-worker.mjs <folder with node_modules> <folder of weights> <threads>`
 *
 * Its wasm backend has no gradient of gather (UnsortedSegmentSum is missing), so rows of the embedding are chosen by a product with
 * one-hot rows.
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { peakMb, serve } from './child.mjs'
import { OPTIMISER, STORIES, storiesTokens } from './stories.mjs'

const [modules, folder, threads] = process.argv.slice(2)
const require = createRequire(join(modules, 'package.json'))
const { heads, headWidth, layers, width, vocabulary, normEpsilon, ropeTheta } = STORIES
let tf
let wasm
let variables
let step = 0

const w = (name) => variables[name].p

/** x [n, in] · Wᵀ with W [out, in] */
const linear = (x, name) => tf.matMul(x, w(name), false, true)

function normed(x, name) {
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), normEpsilon))
  return tf.mul(tf.mul(x, inverse), w(name))
}

function lossOf(tokens) {
  const [rows, length] = [tokens.length, tokens[0].length]
  const oneHot = tf.cast(tf.oneHot(tf.tensor1d(tokens.flat(), 'int32'), vocabulary), 'float32')
  let x = tf.matMul(oneHot, w('embed')) // [B·T, C]
  const angles = tf.outerProduct(
    tf.range(0, length, 1, 'float32'),
    tf.tensor1d(Array.from({ length: headWidth / 2 }, (_, j) => ropeTheta ** ((-2 * j) / headWidth))),
  )
  const [cos, sin] = [tf.cos(angles), tf.sin(angles)] // [T, D/2]
  const turned = (y) => {
    const [a, b] = tf.split(y, 2, -1)
    return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], -1)
  }
  const byHead = (y) => tf.transpose(tf.reshape(y, [rows, length, heads, headWidth]), [0, 2, 1, 3])
  const hidden = tf.tensor2d(
    Float32Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -1e9 : 0)),
    [length, length],
  )
  for (let l = 0; l < layers; l++) {
    const h = normed(x, `layers.${l}/attn/norm`)
    const [q, k, v] = ['q', 'k', 'v'].map((part) => byHead(linear(h, `layers.${l}/attn/${part}`)))
    const scores = tf.mul(tf.matMul(turned(q), turned(k), false, true), 1 / Math.sqrt(headWidth))
    const mixed = tf.matMul(tf.softmax(tf.add(scores, hidden)), v)
    const flat = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [rows * length, width])
    x = tf.add(x, linear(flat, `layers.${l}/attn/o`))
    const g = normed(x, `layers.${l}/mlp/norm`)
    const gate = linear(g, `layers.${l}/mlp/gate`)
    const gated = tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(g, `layers.${l}/mlp/up`))
    x = tf.add(x, linear(gated, `layers.${l}/mlp/down`))
  }
  const kept = tf.reshape(tf.slice(tf.reshape(x, [rows, length, width]), [0, 0, 0], [rows, length - 1, width]), [
    -1,
    width,
  ])
  const logits = linear(normed(kept, 'norm'), 'embed') // [B·(T − 1), V]
  const targets = tf.tensor1d(
    tokens.flatMap((ids) => ids.slice(1)),
    'int32',
  )
  const labels = tf.cast(tf.oneHot(targets, vocabulary), 'float32')
  return tf.neg(tf.mean(tf.sum(tf.mul(labels, tf.logSoftmax(logits)), -1)))
}

/** AdamW as in src/train/optimiser.ts. */
function update(grads) {
  const { lr, beta1, beta2, epsilon, decay, clip } = OPTIMISER
  const [correction1, correction2] = [1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)]
  const norm = Math.sqrt(
    Object.values(grads).reduce((sum, g) => sum + tf.tidy(() => tf.sum(tf.square(g)).dataSync()[0]), 0),
  )
  const factor = Math.min(1, clip / (norm + 1e-6))
  for (const [name, gradient] of Object.entries(grads)) {
    const own = variables[name]
    const [m, v, p] = tf.tidy(() => {
      const g = tf.mul(gradient, factor)
      const m2 = tf.add(tf.mul(own.m, beta1), tf.mul(g, 1 - beta1))
      const v2 = tf.add(tf.mul(own.v, beta2), tf.mul(tf.square(g), 1 - beta2))
      const by = tf.div(tf.mul(m2, lr / correction1), tf.add(tf.sqrt(tf.div(v2, correction2)), epsilon))
      return [m2, v2, tf.sub(tf.mul(own.p, 1 - lr * decay), by)]
    })
    own.p.assign(p)
    tf.dispose([own.m, own.v, p])
    Object.assign(own, { m, v })
  }
}

await serve({
  async load() {
    tf = require('@tensorflow/tfjs')
    wasm = require('@tensorflow/tfjs-backend-wasm')
    wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'))}/dist/`)
    wasm.setThreadsCount?.(Number(threads))
    if (!(await tf.setBackend('wasm'))) throw new Error('The wasm backend does not start.')
    await tf.ready()
    const { tensors } = JSON.parse(readFileSync(join(folder, 'weights.json'), 'utf8'))
    const bytes = readFileSync(join(folder, 'weights.bin'))
    const flat = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    variables = Object.fromEntries(
      Object.entries(tensors).map(([name, { offset, count, dims }]) => [
        name,
        {
          p: tf.variable(tf.tensor(flat.slice(offset, offset + count), dims), true, name),
          m: tf.zeros(dims),
          v: tf.zeros(dims),
        },
      ]),
    )
    return { version: `TensorFlow.js ${tf.version.tfjs}, wasm`, threads: wasm.getThreadsCount?.() }
  },
  async train({ count, rows, length }) {
    const [ms, losses] = [[], []]
    for (let i = 0; i < count; i++, step++) {
      const tokens = storiesTokens(step, rows, length)
      const started = performance.now()
      const { value, grads } = tf.variableGrads(() => lossOf(tokens))
      update(grads)
      losses.push((await value.data())[0])
      tf.dispose([value, grads])
      ms.push(performance.now() - started)
    }
    return { ms, losses, peakMb: peakMb() }
  },
})
