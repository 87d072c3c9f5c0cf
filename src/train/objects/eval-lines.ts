/**
 * `eval.jsonl` of a head on patches: a line a view, with the file below the data's folder, its sha-256, and what is to be found. The
 * features of one picture would have hundreds of kilobytes, so none are carried: to measure again, the pictures must be there.
 */

import { join, relative, resolve } from 'node:path'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import type { Firmware } from '../../runtime/index.js'
import type { Score } from '../course.js'
import type { DataSet, ImageObject } from '../data/index.js'
import { dataFolder, requireSame } from '../media/eval-lines.js'
import { measureObjects } from './evaluate.js'
import type { ObjectHead } from './task.js'
import { pictureReader, type SizedView } from './views.js'

interface FileName {
  /** Path below the folder of the data set, `/` between parts. */
  readonly input: string
  /** Of that file, hex. */
  readonly sha256: string
}

export interface ObjectEvalLine extends FileName {
  readonly kind: 'image-objects'
  readonly box?: SizedView['box']
  readonly objects: readonly ImageObject[]
  readonly matte?: FileName
}

/** What of an object its score is told from. */
const KEPT: Readonly<Record<ObjectHead, readonly (keyof ImageObject)[]>> = {
  boxes: ['box'],
  'key-points': ['box', 'keypoints'],
  segmentation: ['polygons', 'mask'],
  matting: [],
  counting: ['box', 'keypoints'],
}

/** @param files of both sides: their digests */
export function objectEvalLines(
  views: readonly SizedView[],
  head: ObjectHead,
  data: DataSet,
  files: DataSet['files'],
): ObjectEvalLine[] {
  const digests = new Map(files.map(({ path, sha256 }) => [path, sha256]))
  const root = dataFolder(data)
  const named = (path: string): FileName => ({
    input: relative(root, path).replaceAll('\\', '/'),
    sha256: digests.get(path)!,
  })
  return views.map(({ path, box, objects, matte }) => ({
    kind: 'image-objects',
    ...named(path),
    ...(box ? { box } : {}),
    objects: objects.map((object) => trimmed(object, KEPT[head])),
    ...(matte ? { matte: named(matte) } : {}),
  }))
}

function trimmed(object: ImageObject, kept: readonly (keyof ImageObject)[]): ImageObject {
  const parts = kept.flatMap((part) => (object[part] === undefined ? [] : [[part, object[part]]]))
  return { label: object.label, crowd: object.crowd, ...Object.fromEntries(parts) }
}

/** How many of the lines fit into so many bytes, from the first on. */
export function fittingLines(lines: readonly ObjectEvalLine[], bytes: number): number {
  let left = bytes
  const over = lines.findIndex((line) => {
    left -= Buffer.byteLength(JSON.stringify(line)) + 1
    return left < 0
  })
  return over < 0 ? lines.length : over
}

/** @throws M4Error `FORMAT_INVALID` naming the line */
export function parseObjectEvalLines(text: string): ObjectEvalLine[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((source, i) => {
      const line = JSON.parse(source) as Partial<ObjectEvalLine>
      if (typeof line.input === 'string' && typeof line.sha256 === 'string' && Array.isArray(line.objects))
        return line as ObjectEvalLine
      throw new M4Error('FORMAT_INVALID', `eval.jsonl, line ${i + 1}: expected input, sha256 and objects.`, {
        hint: 'These are no samples of a head on patches.',
      })
    })
}

/**
 * Measures a head again on the views that its package carries.
 * @param folder of the data set
 * @throws M4Error `NOT_AVAILABLE` without a folder, `FILE_NOT_FOUND` for a picture that is not in it, `DIGEST_MISMATCH` for one that
 * changed
 */
export async function remeasureObjects(
  firmware: Firmware,
  adapter: HeadAdapter,
  lines: readonly ObjectEvalLine[],
  { folder, ...long }: LongOperation & { readonly folder?: string },
): Promise<Score> {
  if (folder === undefined)
    throw new M4Error('NOT_AVAILABLE', `Adapter ${adapter.name} carries no pictures to measure it on.`, {
      hint: 'Name the folder of the data that it was trained with: --data FOLDER.',
      details: { reason: 'no-features' },
    })
  const root = resolve(folder)
  const files = lines.flatMap(({ input, sha256, matte }) => [{ input, sha256 }, ...(matte ? [matte] : [])])
  for (const [path, sha256] of new Map(files.map(({ input, sha256 }) => [join(root, input), sha256]))) {
    throwIfAborted(long.signal)
    await requireSame(path, sha256, long.signal)
  }
  const read = pictureReader()
  const views: SizedView[] = []
  for (const { input, box, objects, matte } of lines) {
    const view = {
      path: join(root, input),
      objects,
      ...(box ? { box } : {}),
      ...(matte ? { matte: join(root, matte.input) } : {}),
    }
    views.push((await read(view)).view)
  }
  return measureObjects(firmware, adapter, views, long)
}
