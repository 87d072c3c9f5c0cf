/** `m4fm adapter verify`: digests and signature of a package. What is wrong is the result, with the exit code of a damaged file. */

import { ERROR_CODES, isM4Error } from '../../core/errors.js'
import { adapterFolder } from '../adapter.js'
import { formatSignature } from '../adapter-print.js'
import { type CommandAction, textOption } from '../context.js'
import { readText } from '../inputs.js'

export const run: CommandAction = async (context, [name], options) => {
  const folder = await adapterFolder(name!, context)
  const key = textOption(options, 'key')
  const { readAdapterPackage, verifyPackage } = await import('../../adapters/index.js')
  const signature = await verifyPackage(folder, key === undefined ? undefined : await readText(key, context.signal))
  const found = await readAdapterPackage(folder).catch((error: unknown) => {
    if (isM4Error(error, 'DIGEST_MISMATCH')) return undefined
    throw error
  })
  const intact = found !== undefined
  const ok = intact && (key === undefined ? signature.valid || !signature.signed : signature.valid && signature.trusted)
  const facts = found ? { name: found.manifest.name, version: found.manifest.version, digest: found.digest } : {}
  const what = found ? `${found.manifest.name} ${found.manifest.version}` : folder
  context.result(
    { ok, folder, ...facts, intact, signature },
    intact
      ? `${ok ? 'ok ' : 'bad'} ${what}: every file is as m4fm.json says; signature: ${formatSignature(signature)}`
      : `bad ${what}: ${signature.problem}`,
  )
  if (ok) return 0
  context.note('Do not install it; get it from its publisher again.')
  return ERROR_CODES.DIGEST_MISMATCH
}
