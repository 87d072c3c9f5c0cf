/** Options of `m4fm adapter …`. */

import { resolve, sep } from 'node:path'
import { M4Error } from '../core/errors.js'
import { type OptionValues, textOption } from './context.js'

/** An option that the command cannot do without. @throws M4Error `USAGE` with `hint` */
export function requiredOption(options: OptionValues, name: string, hint: string): string {
  const text = textOption(options, name)
  if (text !== undefined && text !== '') return text
  throw new M4Error('USAGE', `Expected --${name}.`, { hint, details: { option: name } })
}

/** A package is damaged by any file more in its folder. @throws M4Error `USAGE` when `output` lies in `folder` */
export function requireApart(folder: string, output: string): void {
  const [from, to] = [resolve(folder), resolve(output)]
  if (to !== from && !to.startsWith(from + sep)) return
  throw new M4Error('USAGE', `--out ${output} lies in the folder of the adapter, ${folder}.`, {
    hint: 'Name a place outside of it.',
    details: { folder: from, output: to },
  })
}
