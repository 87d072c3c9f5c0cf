/** The vectors that heads of patches read. */

import { M4Error } from '../../core/errors.js'
import type { Manifest } from '../../firmware/manifest.js'

/** Output of the graph `encode` of a picture encoder, float32 [B, P, C]: P = rows · columns of a square, row by row. */
export const PATCHES = 'patches'

export interface PatchGrid {
  /** Rows and columns of patches, as the encoder sees the square. */
  readonly rows: number
  readonly columns: number
}

export interface PatchFeatures extends PatchGrid {
  /** C */
  readonly width: number
  readonly data: Float32Array // [P, C]
}

/** @throws M4Error `NOT_AVAILABLE` where the encoder has no such output, `IMAGE_INVALID` where it is no square of patches */
export function patchGrid(dims: readonly (number | string)[] | undefined): Omit<PatchFeatures, 'data'> {
  if (!dims) throw noPatches()
  const [, patches, width] = dims
  const rows = Math.sqrt(Number(patches))
  if (dims.length !== 3 || !Number.isInteger(rows) || typeof width !== 'number')
    throw new M4Error('IMAGE_INVALID', `Output ${PATCHES}: expected [B, P, C] for a square of P, got [${dims}].`, {
      hint: 'Build the image again with this version of m4fm.',
    })
  return { rows, columns: rows, width }
}

/** Whether the image's encoder of pictures gives them. */
export const givesPatches = ({ modules }: Pick<Manifest, 'modules'>): boolean =>
  modules.IMG?.graphs.encode?.outputs.some((output) => output.startsWith(`${PATCHES} `)) ?? false

export const noPatches = (): M4Error =>
  new M4Error('NOT_AVAILABLE', 'The module IMG gives one vector a picture; boxes, points and masks need one a patch.', {
    hint: 'Build the image again with this version of m4fm.',
    details: { needs: `an output ${PATCHES} [B, P, C] of graph encode of module IMG` },
  })
