/** `m4fm adapter merge`: base checkpoint + LoRA → one safetensors file. */

import { M4Error } from '../../core/errors.js'
import { adapterFolder, packageIn } from '../adapter.js'
import { requireApart, requiredOption } from '../adapter-options.js'
import { type CommandAction, longOperation } from '../context.js'
import { plural } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const base = requiredOption(
    options,
    'base',
    'The checkpoint that the adapter was trained on, e.g. --base model.safetensors.',
  )
  const output = requiredOption(options, 'out', 'The file to write, e.g. --out merged/model.safetensors.')
  const adapter = await adapterFolder(name!, context)
  requireApart(adapter, output)
  const found = await packageIn(adapter)
  if (found && found.manifest.kind !== 'lora')
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `${found.manifest.name} is a ${found.manifest.kind} adapter, expected lora.`,
      {
        hint: 'Only LoRA can become part of the weights.',
      },
    )
  const { mergeAdapter } = await import('../../adapters/index.js')
  const report = await mergeAdapter({ base, adapter, output, ...(await longOperation(context)) })
  context.result(
    { ...report, adapter, base },
    `${report.output}: ${formatBytes(report.bytes)}, ${plural(report.tensors, 'tensor')}, ${report.merged} of them changed by at most ${report.largestChange.toPrecision(3)}`,
  )
  return 0
}
