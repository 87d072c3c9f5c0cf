/** `m4fm adapter install`: a package into the store of this device. */

import type { AdapterPackage } from '../../adapters/index.js'
import { adapterFolder } from '../adapter.js'
import { type AdapterImage, abisFor, cautionOn, imageOption, optionalImage, standingOn } from '../adapter-fit.js'
import { type CliContext, type CommandAction, textOption } from '../context.js'
import { readText } from '../inputs.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const folder = await adapterFolder(name!, context)
  const force = options.force === true
  // Forced, it may come before the image that it is for.
  const image = force ? await optionalImage(context, options) : await imageOption(context, options)
  const key = textOption(options, 'key')
  const { installAdapter, readAdapterPackage } = await import('../../adapters/index.js')
  const found = await readAdapterPackage(folder)
  const abis = image ? await abisFor(found.manifest, image) : {}
  const here = image && { image, ...(await standingOn(found, image, context)) }
  const caution = here && (await cautionOn(found, here.image, here, { force }))
  if (image && !force) await checkEffect(context, found, abis, image)
  const installed = await installAdapter(folder, {
    home: context.home,
    abis,
    force,
    replace: options.replace === true,
    ...(key === undefined ? {} : { publicKeyPem: await readText(key, context.signal) }),
  })
  const { manifest, path, digest, bytes } = installed
  context.result(
    {
      name: manifest.name,
      version: manifest.version,
      app: manifest.app,
      path,
      digest,
      bytes,
      ...(here ? { image: here.image.path, fit: here.fit } : {}),
    },
    `Installed ${manifest.name} ${manifest.version} of ${manifest.app} (${formatBytes(bytes)}).`,
  )
  if (caution) context.note(`warning: ${caution}`)
  if (here?.fit === 'other-abi')
    context.note(`warning: it does not load on ${here.image.manifest.name}: it was made for ${manifest.base.abi}.`)
  else context.note(`Next: m4fm run --adapter ${manifest.name} …`)
  return 0
}

/** A few of its own samples, with and without it: seconds, once, instead of an app that wonders for ever. */
async function checkEffect(
  context: CliContext,
  { path: adapter, manifest }: AdapterPackage,
  abis: Readonly<Record<string, string>>,
  { path }: AdapterImage,
): Promise<void> {
  const [{ requireEffect }, { requireAbi }, { openImage }, { openEngine }] = await Promise.all([
    import('../../train/index.js'),
    import('../../adapters/index.js'),
    import('../../firmware/index.js'),
    import('../../engine/index.js'),
  ])
  if (manifest.kind === 'head') return
  requireAbi(manifest, abis)
  await requireEffect({ adapter, image: await openImage(path), engine: await openEngine(), signal: context.signal })
}
