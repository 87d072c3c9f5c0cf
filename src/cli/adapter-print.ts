/** What is known of an adapter, as lines for people. */

import type { AdapterManifest, PackageVerification } from '../adapters/index.js'
import type { TensorFacts } from './adapter-tensors.js'
import { formatMeasured } from './measured.js'
import { plural } from './print.js'
import { formatBytes, formatSeconds } from './progress.js'

/** `by key 1f2e…, valid`; what a signature proves depends on who gave the key. */
export function formatSignature({ signed, valid, trusted, keyId, problem }: PackageVerification): string {
  if (!signed) return 'none'
  const by = `key ${keyId?.slice(0, 16)}`
  if (!valid) return `not valid: ${problem}`
  return trusted
    ? `valid, by the given ${by}`
    : `valid, by ${by} (whose it is, only \`m4fm adapter verify --key\` tells)`
}

/** What the author says, a row a fact. */
export function manifestRows(manifest: AdapterManifest): string[][] {
  const { prompt, head, base, training, metric } = manifest
  const labels = prompt?.labels ?? head?.labels
  const sizes = Object.entries(base.sizes ?? {}).map(([name, size]) => `${name} ${size}`)
  return [
    ['adapter', `${manifest.name} ${manifest.version} of ${manifest.app}`],
    ['kind', manifest.kind],
    ['task', `${manifest.task}, path ${manifest.path}`],
    ...(prompt ? [['prompt', JSON.stringify(prompt.template)]] : []),
    ...(labels ? [['labels', labels.join(', ')]] : []),
    ...(head ? [['head', `${head.type}, ${head.in} to ${head.out}${patchesOf(head)}`]] : []),
    ['base', `${base.module} ${base.abi}${sizes.length ? ` (${sizes.join(', ')})` : ''}`],
    ['made on', `image ${base.image.name}, digest ${base.image.digest}`],
    ...(training
      ? [
          [
            'training',
            `${plural(training.steps, 'step')} on ${plural(training.data.samples, 'sample')}, seed ${training.seed}, ` +
              `${formatSeconds(training.seconds)}, ${formatBytes(training.peakMemoryBytes)} at most; ` +
              `loss ${training.loss.first.toPrecision(3)} to ${training.loss.last.toPrecision(3)}`,
          ],
          ['recipe', JSON.stringify(training.recipe)],
        ]
      : []),
    ...(metric ? [['metric', `${metric.name} ${formatMeasured(metric)} on ${plural(metric.count, 'sample')}`]] : []),
    ['licence', manifest.licence],
    ['created', manifest.created],
  ]
}

const rounded = (values: readonly number[]) => values.map((value) => Number(value.toPrecision(4))).join(', ')
const patchesOf = ({ patches }: NonNullable<AdapterManifest['head']>): string =>
  patches ? `, of each of ${patches.rows} × ${patches.columns} patches` : ''

/** The tensors: where LoRA attaches, how many virtual tokens. */
export function tensorRows({ places, tokens, parameters, types }: TensorFacts): string[][] {
  return [
    ...places.map(({ module, layers, ranks, alphas, scales }, i) => [
      i === 0 ? 'places' : '',
      `${module} of ${plural(layers, 'layer')}: rank ${ranks.join(', ')}, alpha ${rounded(alphas)}, scale ${rounded(scales)}`,
    ]),
    ...(tokens === undefined ? [] : [['tokens', plural(tokens, 'virtual token')]]),
    ['parameters', `${parameters} (${types.join(', ')})`],
  ]
}
