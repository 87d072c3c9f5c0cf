/** The list of runs, the most telling first. */

const SST2 = { set: 'sst2', measured: 100, measureBase: false }
const AG = { set: 'agnews', measured: 100, measureBase: false }
const EMOJI = { set: 'emoji', measured: 60, measureBase: false }
/** The loss is looked at once, at the end: looking costs as much as training. */
const lora = { kind: 'lora', rank: 8, maxTokens: 96, batch: 16, seed: 7, patience: 0, evalEvery: 1000 }

const share = (base, name, fraction, steps, more = {}) => ({
  ...base,
  name: `${base.set}-${name}`,
  about: `LoRA rank 8, ${fraction === 1 ? 'all data at hand' : `${fraction * 100} % of the data`}, ${steps} steps of 16`,
  image: 'lite',
  options: { ...lora, fraction, steps, ...more },
})

const rank = (r) => ({
  ...SST2,
  measured: 60,
  name: `rank-${r}`,
  about: `LoRA rank ${r} on SST-2, 12 steps of 16`,
  image: 'lite',
  // Rank 32 of q and v has 18 MB in float32, and 10 MB are allowed.
  options: { ...lora, rank: r, steps: 12, ...(r > 16 ? { dtype: 'float16' } : {}) },
})

const soft = (kind) => ({
  ...SST2,
  name: kind,
  about: `${kind} tuning, 16 tokens, SST-2, 30 steps of 16`,
  image: 'lite',
  options: { ...lora, kind, tokens: 16, steps: 30 },
})

const base = (image, label) => ({
  ...SST2,
  measured: 50,
  name: `base-${label}`,
  about: `trained on ${label} weights (as the device runs them), served on all`,
  image,
  serveOn: ['lite-fp32', 'lite-int8', 'lite'],
  options: { ...lora, steps: 12, forward: 'image' },
})

export const RUNS = [
  { ...share(SST2, '1%', 0.01, 20), measureBase: true },
  share(SST2, '10%', 0.1, 40),
  { ...share(AG, '1%', 0.01, 15), measureBase: true },
  { ...share(EMOJI, '1%', 0.01, 30), measureBase: true },
  soft('prompt'),
  soft('prefix'),
  share(AG, '10%', 0.1, 20),
  share(EMOJI, '10%', 0.1, 30),
  ...[1, 2, 4, 8, 16, 32].map(rank),
  base('lite', 'int4'),
  base('lite-int8', 'int8'),
  base('lite-fp32', 'fp32'),
  share(SST2, 'full', 1, 60),
  share(AG, 'full', 1, 30),
  share(EMOJI, 'full', 1, 50),
]
