/**
 * `m4fm adapter convert`: one LoRA as a PEFT folder, a GGUF adapter or an .onnx_adapter file. A PEFT folder is the form in the
 * middle, so two writers and two readers make all six ways.
 */

import { statSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, extname, join } from 'node:path'
import type { StorageDType } from '../../adapters/index.js'
import { M4Error, unknownName, wrapSystemError } from '../../core/errors.js'
import { atomicWriteFile } from '../../core/files.js'
import type { Abi } from '../../firmware/manifest.js'
import { adapterPath, packageIn } from '../adapter.js'
import { abisFor, imageOption } from '../adapter-fit.js'
import { requireApart, requiredOption } from '../adapter-options.js'
import { type CommandAction, textOption } from '../context.js'
import { unpackLora } from '../packed-lora.js'
import { formatBytes } from '../progress.js'

type Form = 'peft' | 'gguf' | 'onnx'
const FORMS: readonly Form[] = ['peft', 'gguf', 'onnx']
const TYPES: readonly StorageDType[] = ['float32', 'float16']

interface Work {
  readonly abi: Abi
  readonly name: string
  readonly dtype: StorageDType
  /** Told to people and in `--json`. */
  readonly warnings: string[]
}

export const run: CommandAction = async (context, [operand], options) => {
  const to = oneOf('format', requiredOption(options, 'to', `One of ${FORMS.join(', ')}.`), FORMS)
  const out = requiredOption(options, 'out', 'The file to write, or the folder with --to peft.')
  const dtype = oneOf('type', textOption(options, 'dtype') ?? 'float32', TYPES)
  const path = await adapterPath(operand!, context)
  const from = await formOf(path)
  if (from === to)
    throw new M4Error('USAGE', `${path} is ${to} already.`, {
      hint: `Convert it to ${FORMS.filter((form) => form !== to).join(' or ')}.`,
    })
  if (from === 'peft') requireApart(path, out)
  const found = from === 'peft' ? await packageIn(path) : undefined
  const image = await imageOption(context, options)
  if (found) (await import('../../adapters/index.js')).requireAbi(found.manifest, await abisFor(found.manifest, image))
  const name = found?.manifest.name ?? basename(path, extname(path))
  const work: Work = { abi: image.manifest.abi, name, dtype, warnings: [] }

  const bytes = to === 'peft' ? await toFolder(path, from, out, work) : await toFile(path, from, to, out, work)
  for (const message of work.warnings) context.note(`warning: ${message}`)
  context.result(
    { from, to, adapter: path, out, bytes, image: image.path, warnings: work.warnings },
    `${out}: ${name} as ${to}, ${formatBytes(bytes)}`,
  )
  return 0
}

/** @throws M4Error `UNKNOWN_NAME` */
function oneOf<T extends string>(what: string, name: string, known: readonly T[]): T {
  if (!known.includes(name as T)) throw unknownName(what, name, known)
  return name as T
}

/** By the first bytes, never by the name. @throws M4Error `FORMAT_UNSUPPORTED` */
async function formOf(path: string): Promise<Form> {
  if (statSync(path).isDirectory()) return 'peft'
  const head = (await bytesOf(path)).subarray(0, 8)
  const at = (from: number) => new TextDecoder('latin1').decode(head.subarray(from, from + 4))
  if (at(0) === 'GGUF') return 'gguf'
  if (at(4) === 'TORT') return 'onnx'
  throw new M4Error('FORMAT_UNSUPPORTED', `${path} is neither a GGUF adapter nor an .onnx_adapter file.`, {
    hint: 'Name a PEFT folder, a package, an installed adapter, or such a file.',
    details: { path },
  })
}

/** @returns bytes written */
async function toFolder(path: string, from: Form, out: string, work: Work): Promise<number> {
  const [{ writeFolder }, { PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE }] = await Promise.all([
    import('../../adapters/write-folder.js'),
    import('../../adapters/peft-names.js'),
  ])
  const files = await peftOf(path, from, work, work.dtype)
  const names = [PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE]
  await writeFolder(out, files, { replaces: { mark: PEFT_CONFIG_FILE, names, what: 'PEFT folder' } })
  return [...files.values()].reduce((sum, { length }) => sum + length, 0)
}

/** @returns bytes written */
async function toFile(path: string, from: Form, to: 'gguf' | 'onnx', out: string, work: Work): Promise<number> {
  const write = async (folder: string) => {
    const bytes = await WRITERS[to](folder, work)
    await atomicWriteFile(out, bytes)
    return bytes.length
  }
  if (from === 'peft') return write(path)
  const folder = await mkdtemp(join(tmpdir(), 'm4fm-convert-'))
  try {
    // In between nothing is rounded: only the last file is in --dtype.
    for (const [name, bytes] of await peftOf(path, from, work, 'float32')) await writeFile(join(folder, name), bytes)
    return await write(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The files of a PEFT folder with what is in a file of another form. */
async function peftOf(
  path: string,
  from: Form,
  { abi, name, warnings }: Work,
  dtype: StorageDType,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const { peftFiles, readGgufAdapter, readOnnxAdapter, usableAdapter } = await import('../../adapters/index.js')
  if (from === 'gguf') {
    const { FileSource } = await import('../../checkpoint/index.js')
    return readGgufAdapter(new FileSource(path), abi, { dtype })
  }
  const read = readOnnxAdapter(await bytesOf(path), abi, name)
  const adapter = usableAdapter(read)
  warnings.push(...read.findings.map(({ message }) => message))
  return peftFiles(abi, unpackLora(abi, adapter), { dtype })
}

const WRITERS = Object.freeze({
  gguf: async (folder: string, { abi, name, dtype }: Work): Promise<Uint8Array> => {
    const { writeGgufAdapter } = await import('../../adapters/index.js')
    return writeGgufAdapter(folder, abi, { name, dtype })
  },
  onnx: async (folder: string, { abi, name, dtype, warnings }: Work): Promise<Uint8Array> => {
    const { readPeftAdapter, usableAdapter, writeOnnxAdapter } = await import('../../adapters/index.js')
    const read = readPeftAdapter(folder, abi)
    const adapter = usableAdapter(read)
    warnings.push(...read.findings.map(({ message }) => message))
    return writeOnnxAdapter(abi, { ...adapter, name }, { dtype })
  },
})

const bytesOf = (path: string): Promise<Uint8Array> =>
  readFile(path).catch((error) => {
    throw wrapSystemError(error, `Reading ${path}`)
  })
