/** `m4fm adapter sign`: a package with its author's signature. */

import { adapterFolder } from '../adapter.js'
import { requiredOption } from '../adapter-options.js'
import type { CommandAction } from '../context.js'
import { readText } from '../inputs.js'

export const run: CommandAction = async (context, [name], options) => {
  const key = requiredOption(
    options,
    'key',
    'A private key in PEM, e.g. from `openssl ecparam -genkey -name prime256v1 -out private.pem`.',
  )
  const folder = await adapterFolder(name!, context)
  const { packageDigest, signPackage } = await import('../../adapters/index.js')
  const manifest = await signPackage(folder, await readText(key, context.signal))
  const { keyId } = manifest.signature!
  context.result(
    { folder, name: manifest.name, version: manifest.version, digest: packageDigest(manifest), keyId },
    `Signed ${manifest.name} ${manifest.version} with the key ${keyId}.`,
  )
  context.note(`Next: m4fm adapter verify ${name} --key PUBLIC.pem`)
  return 0
}
