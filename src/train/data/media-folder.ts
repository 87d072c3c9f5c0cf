/** A folder of pictures or of WAV files, one folder a class below it (the layout of torchvision's ImageFolder). */

import { join } from 'node:path'
import { M4Error } from '../../core/errors.js'
import { labelledFiles } from './folder-labels.js'
import { PICTURE_NAME, SOUND_NAME, withFiles } from './media-files.js'
import { type Reader, type Reading, requireFolder } from './reader.js'

const MEDIA = {
  'image-label': { name: PICTURE_NAME, what: 'pictures', names: 'png, jpg, webp, ppm, gif' },
  'sound-label': { name: SOUND_NAME, what: 'sounds', names: 'wav' },
} as const

/** @throws M4Error `EMPTY_INPUT` where no file ends as expected */
const mediaReader =
  (kind: keyof typeof MEDIA): Reader =>
  async (source, options, findings): Promise<Reading> => {
    const { name, what, names } = MEDIA[kind]
    const below = requireFolder(source, `a folder of ${what}, one folder a class`)
    const paths = below.filter((path) => name.test(path))
    if (!paths.length)
      throw new M4Error('EMPTY_INPUT', `${source.path} holds no ${what} (${names}), but ${below.length} other files.`, {
        hint: `Expected ${source.path}/<class>/<file>.`,
        details: { path: source.path, others: below.slice(0, 10) },
      })
    for (const path of below)
      if (!name.test(path)) findings.add('other-file', `${path} is not read: ${what} end in ${names}.`, { file: path })
    const files = labelledFiles(source.path, paths, options.pathPattern, findings)
    const samples = files.map((file) => ({ kind, ...file, path: join(source.path, file.path) }))
    const relative = (path: string) => path.slice(source.path.length + 1)
    return { kind, ...(await withFiles(samples, relative, findings, options)) }
  }

export const readImageFolder: Reader = mediaReader('image-label')
export const readSoundFolder: Reader = mediaReader('sound-label')
