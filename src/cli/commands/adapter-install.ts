/** `m4fm adapter install`: a package into the store of this device. */

import { adapterFolder, fitOn, imageOption, optionalImage, revalidateFirst } from '../adapter.js'
import { type CommandAction, textOption } from '../context.js'
import { readText } from '../inputs.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const folder = await adapterFolder(name!, context)
  const force = options.force === true
  // Forced, it may come before the image that it is for.
  const image = force ? await optionalImage(context, options) : await imageOption(context, options)
  const key = textOption(options, 'key')
  const { installAdapter } = await import('../../adapters/index.js')
  const installed = await installAdapter(folder, {
    home: context.home,
    abis: image?.abis ?? {},
    force,
    replace: options.replace === true,
    ...(key === undefined ? {} : { publicKeyPem: await readText(key, context.signal) }),
  })
  const { manifest, path, digest, bytes } = installed
  const fit = image && (await fitOn(manifest, image))
  context.result(
    {
      name: manifest.name,
      version: manifest.version,
      app: manifest.app,
      path,
      digest,
      bytes,
      ...(image ? { image: image.path, fit } : {}),
    },
    `Installed ${manifest.name} ${manifest.version} of ${manifest.app} (${formatBytes(bytes)}).`,
  )
  if (image && fit === 'revalidate') context.note(`warning: ${revalidateFirst(manifest, image)}`)
  if (fit === 'other-abi')
    context.note(`warning: it does not load on ${image!.manifest.name}: it was made for ${manifest.base.abi}.`)
  else context.note(`Next: m4fm run --adapter ${manifest.name} …`)
  return 0
}
