/** Reading a module's configuration and tables out of an image, with errors that name the module and the field. */

import { M4Error } from '../core/errors.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { loadTokenizer, type Tokenizer } from '../tokenizers/index.js'

/** @throws M4Error `IMAGE_INVALID` */
export function configNumber(entry: ModuleEntry, field: string): number {
  const value = entry.config[field]
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw badField(entry, field, 'a number', value)
}

/** A number, or undefined where the field is absent or null. @throws M4Error `IMAGE_INVALID` */
export function optionalNumber(entry: ModuleEntry, field: string): number | undefined {
  return entry.config[field] == null ? undefined : configNumber(entry, field)
}

/** @throws M4Error `IMAGE_INVALID` */
export function configText(entry: ModuleEntry, field: string): string {
  const value = entry.config[field]
  if (typeof value === 'string' && value !== '') return value
  throw badField(entry, field, 'a text', value)
}

/** A text, or undefined where the field is absent or null. @throws M4Error `IMAGE_INVALID` */
export function optionalText(entry: ModuleEntry, field: string): string | undefined {
  return entry.config[field] == null ? undefined : configText(entry, field)
}

/** @throws M4Error `IMAGE_INVALID` */
export function configNumbers(entry: ModuleEntry, field: string): number[] {
  const value = entry.config[field]
  if (Array.isArray(value) && value.every((item) => Number.isInteger(item))) return value
  throw badField(entry, field, 'a list of token ids', value)
}

export function badField(entry: ModuleEntry, field: string, expected: string, got: unknown): M4Error {
  return new M4Error(
    'IMAGE_INVALID',
    `Module of architecture ${entry.architecture}: config.${field}: expected ${expected}, got ${JSON.stringify(got) ?? 'nothing'}.`,
    { hint: 'Build the image again with this version of m4fm.', details: { field, got } },
  )
}

/** @throws M4Error `IMAGE_INVALID`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` */
export async function readTokenizer(image: Image, role: Role): Promise<Tokenizer> {
  const text = await readText(image, role, 'tokenizer')
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new M4Error('IMAGE_INVALID', `The tokenizer of module ${role} is not JSON.`, {
      hint: 'Run `m4fm verify`, then build the image again.',
      cause,
    })
  }
  return loadTokenizer(json)
}

export async function readText(image: Image, role: Role, file: string): Promise<string> {
  return new TextDecoder().decode(await image.readFile(role, file))
}
