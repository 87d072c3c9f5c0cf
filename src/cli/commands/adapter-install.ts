/** `m4fm adapter install`: a package into the store of this device. */

import {
  type AdapterImage,
  adapterFolder,
  fitOn,
  imageOption,
  isPackage,
  optionalImage,
  revalidateFirst,
} from '../adapter.js'
import { type CliContext, type CommandAction, textOption } from '../context.js'
import { readText } from '../inputs.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const folder = await adapterFolder(name!, context)
  const force = options.force === true
  // Forced, it may come before the image that it is for.
  const image = force ? await optionalImage(context, options) : await imageOption(context, options)
  const key = textOption(options, 'key')
  const { installAdapter } = await import('../../adapters/index.js')
  if (image && !force && isPackage(folder)) await checkEffect(context, folder, image)
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

/** A few of its own samples, with and without it: seconds, once, instead of an app that wonders for ever. */
async function checkEffect(context: CliContext, adapter: string, { path, abis }: AdapterImage): Promise<void> {
  const [{ requireEffect }, { requireAbi, readAdapterPackage }, { openImage }, { openEngine }] = await Promise.all([
    import('../../train/index.js'),
    import('../../adapters/index.js'),
    import('../../firmware/index.js'),
    import('../../engine/index.js'),
  ])
  const { manifest } = await readAdapterPackage(adapter)
  if (manifest.kind === 'head') return
  requireAbi(manifest, abis)
  await requireEffect({ adapter, image: await openImage(path), engine: await openEngine(), signal: context.signal })
}
