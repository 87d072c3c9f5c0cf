/** `m4fm run` for heads of patches: boxes, points, masks and counts of one picture. */

import { M4Error } from '../core/errors.js'
import type { HeadAdapter } from '../runtime/class-head.js'
import type { Task } from '../runtime/requests.js'
import { numberOption, type OptionValues, textOption } from './context.js'
import { readBytes } from './inputs.js'
import type { RunInput, TaskMaker } from './run-requests.js'

type PatchTask = Extract<Task, 'detect' | 'keypoints' | 'segment' | 'count'>

export const PATCH_TASKS: { readonly [T in PatchTask]: TaskMaker<T> } = Object.freeze({
  detect: {
    takes: ['adapter', 'minScore', 'overlap', 'top'],
    make: async (input) => ({
      task: 'detect',
      ...(await looked(input, 'detect')),
      ...Object.fromEntries(
        ['minScore', 'overlap', 'top'].flatMap((name) => {
          const value = numberOption(input.options, name)
          return value === undefined ? [] : [[name, value]]
        }),
      ),
    }),
  },
  keypoints: {
    takes: ['adapter', 'region'],
    make: async (input) => ({ task: 'keypoints', ...(await looked(input, 'keypoints')), ...region(input.options) }),
  },
  segment: {
    takes: ['adapter', 'out'],
    make: async (input) => ({ task: 'segment', ...(await looked(input, 'segment')) }),
  },
  count: {
    takes: ['adapter'],
    make: async (input) => ({ task: 'count', ...(await looked(input, 'count')) }),
  },
})

async function looked({ context, operands, options, adapter }: RunInput, task: PatchTask) {
  const file = textOption(options, 'file')
  const paths = [...operands, ...(file === undefined ? [] : [file])]
  if (paths.length !== 1)
    throw new M4Error('USAGE', `run --task ${task}: expected one picture, got ${paths.length}.`, {
      hint: `For example m4fm run --task ${task} --adapter my-adapter dog.png`,
      details: { paths },
    })
  return { picture: { file: await readBytes(paths[0]!, context.signal) }, adapter: headOf(task, adapter) }
}

/** @throws M4Error `USAGE` where none is named, or one of the backbone */
function headOf(task: PatchTask, adapter: RunInput['adapter']): HeadAdapter {
  if (adapter?.head) return adapter.head
  const what = adapter ? `got ${adapter.facts.name}, which is one of the backbone` : 'got none'
  throw new M4Error('USAGE', `run --task ${task}: expected --adapter with a head on patches, ${what}.`, {
    hint: 'Train one from COCO JSON: m4fm adapter train --data annotations.json --out my-adapter',
  })
}

function region(options: OptionValues): { region?: readonly [number, number, number, number] } {
  const given = textOption(options, 'region')
  if (given === undefined) return {}
  const numbers = given.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  if (numbers.length !== 4 || !numbers.every(Number.isFinite))
    throw new M4Error('USAGE', `--region: expected x,y,width,height in dots, got ${given}.`)
  return { region: numbers as unknown as readonly [number, number, number, number] }
}
