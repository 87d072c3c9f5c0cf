/** Names that Hugging Face PEFT gives to files and modules of a LLaMA-style decoder, and the places of ours that they are. */

import { M4Error } from '../core/errors.js'
import type { Place } from './places.js'

export const PEFT_CONFIG_FILE = 'adapter_config.json'
export const PEFT_WEIGHT_FILE = 'adapter_model.safetensors'

/** Their module → our place. */
export const PEFT_PLACES: Readonly<Record<string, Place>> = Object.freeze({
  'self_attn.q_proj': { site: 'qkv', part: 'q' },
  'self_attn.k_proj': { site: 'qkv', part: 'k' },
  'self_attn.v_proj': { site: 'qkv', part: 'v' },
  'self_attn.o_proj': { site: 'o', part: 'o' },
  'mlp.gate_proj': { site: 'gateUp', part: 'gate' },
  'mlp.up_proj': { site: 'gateUp', part: 'up' },
  'mlp.down_proj': { site: 'down', part: 'down' },
})

/** Our place → their module, e.g. `self_attn.q_proj`. @throws M4Error `FORMAT_UNSUPPORTED` for a place that PEFT folders cannot name */
export function peftModule({ site, part }: Place): string {
  const found = Object.entries(PEFT_PLACES).find(([, place]) => place.site === site && place.part === part)
  if (found) return found[0]
  throw new M4Error('FORMAT_UNSUPPORTED', `A PEFT folder has no name for the place ${site}/${part}.`, {
    hint: `Known: ${Object.values(PEFT_PLACES)
      .map((place) => `${place.site}/${place.part}`)
      .join(', ')}.`,
  })
}
