/** Words by their letters: the graph `letters` beside a voice, whose classes the file `sounds` names in order, as a JSON list. */

import { Handle } from '../core/disposal.js'
import { M4Error } from '../core/errors.js'
import { int64Tensor } from '../core/tensor.js'
import type { Engine, Session } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { decodeSounds, LONGEST_WORD, letterIds } from '../tokenizers/index.js'
import { readText } from './module-config.js'

const GRAPH = 'letters'
const SOUNDS = 'sounds'

export class LetterReader extends Handle {
  constructor(
    readonly engine: Engine,
    readonly session: Session,
    /** ARPAbet of each class. */
    readonly sounds: readonly string[],
  ) {
    super('letter reader')
  }

  /**
   * @param word lower case; letters beyond a to z are passed over, one of more than `LONGEST_WORD` letters is read in pieces
   * @returns ARPAbet with stress, empty for a word without a letter
   * @throws M4Error `ABORTED`, `ENGINE`, `DISPOSED`
   */
  async read(word: string, signal?: AbortSignal): Promise<string> {
    this.assertLive('read')
    if (!/[a-z]/.test(word)) return ''
    const ids = letterIds(word)
    const pieces: string[] = []
    for (let from = 0; from < ids.length; from += LONGEST_WORD)
      pieces.push(await this.#piece(ids.slice(from, from + LONGEST_WORD), signal))
    return pieces.join(' ')
  }

  async #piece(ids: readonly number[], signal: AbortSignal | undefined): Promise<string> {
    const dims = [1, ids.length]
    using letters = this.engine.tensor('int64', dims, int64Tensor(dims, ids).data)
    const { scores } = await this.session.run({ letters }, ['scores'], { signal })
    using found = scores!
    return decodeSounds(found.data as Float32Array, this.sounds)
  }

  protected override release(): void {
    this.session.dispose()
  }
}

/** Undefined where the module has none. @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openLetterReader(
  image: Image,
  role: Role,
  { graphs }: ModuleEntry,
  engine: Engine,
): Promise<LetterReader | undefined> {
  if (!Object.hasOwn(graphs, GRAPH)) return undefined
  const sounds = readSounds(await readText(image, role, SOUNDS), role)
  const session = await engine.createSession({ path: image.graphPath(role, GRAPH) })
  const classes = session.outputs.find(({ name }) => name === 'scores')?.dims.at(-1)
  if (classes === sounds.length) return new LetterReader(engine, session, sounds)
  session.dispose()
  throw new M4Error('IMAGE_INVALID', `Module ${role}: ${sounds.length} sounds for a graph of ${classes} classes.`, {
    hint: 'Build the image with the list that was written beside these weights.',
  })
}

function readSounds(text: string, role: Role): string[] {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    // Told below.
  }
  if (Array.isArray(list) && list.every((item) => typeof item === 'string')) return list
  throw new M4Error('IMAGE_INVALID', `Module ${role}: the file "${SOUNDS}" is no list of texts.`, {
    hint: 'Build the image with the list that was written beside these weights.',
  })
}
