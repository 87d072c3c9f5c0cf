/** When two samples ask the same, and what they say about it. */

import type { DataSet, Sample } from './samples.js'

/** Spaces, letter case and the form of accents make no other text: a copy that differs in these still gives its answer away. */
export function normalText(text: string): string {
  const spaced = /[^\S ]| {2}|^ | $/.test(text) ? text.trim().replace(/\s+/g, ' ') : text
  return spaced.normalize('NFC').toLowerCase()
}

/** The part of a sample that a model is shown, as a key: normalised text, or the digest of the file's bytes. */
export function sampleKeys(dataSet: Pick<DataSet, 'files'>): (sample: Sample) => string {
  const digests = new Map(dataSet.files.map(({ path, sha256 }) => [path, sha256]))
  return (sample) => {
    switch (sample.kind) {
      case 'text-label':
        return normalText(sample.text)
      case 'prompt-answer':
        return normalText(sample.prompt)
      case 'chat':
        // JSON keeps one message from running into the next.
        return JSON.stringify(sample.messages.map(({ role, content }) => [role, normalText(content)]))
      case 'image-answer':
      case 'sound-answer':
        return `${digests.get(sample.path) ?? sample.path}:${normalText(sample.question)}`
      case 'motion-label':
        return `${digests.get(sample.path) ?? sample.path}:${sample.start}-${sample.end}`
      default:
        return digests.get(sample.path) ?? sample.path
    }
  }
}

/** The part that is to be learned. */
export function answerOf(sample: Sample): string {
  switch (sample.kind) {
    case 'prompt-answer':
    case 'chat':
    case 'image-answer':
    case 'sound-answer':
      return sample.answer
    case 'image-caption':
      return sample.captions.join('\n')
    case 'image-matte':
      return sample.matte
    case 'image-objects':
      return JSON.stringify(sample.objects)
    default:
      return sample.label
  }
}

/** Undefined for kinds without one label a sample. */
export const labelOf = (sample: Sample): string | undefined => ('label' in sample ? sample.label : undefined)

/** `row 7`, or the file's name: for messages. */
export function placeOf(sample: Sample): string {
  if ('row' in sample && sample.row !== undefined) return `row ${sample.row}`
  if (sample.kind === 'motion-label') return `${fileName(sample.path)}, measurements ${sample.start} to ${sample.end}`
  return 'path' in sample ? fileName(sample.path) : 'a sample'
}

const fileName = (path: string) => path.split(/[/\\]/).slice(-2).join('/')
