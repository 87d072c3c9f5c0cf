/** `adapter_config.json` of Hugging Face PEFT (huggingface/peft src/peft/tuners/{lora,prompt_tuning,prefix_tuning}/config.py). */

import { M4Error } from '../core/errors.js'
import { loraScale } from './trained.js'

export type PeftType = 'LORA' | 'PROMPT_TUNING' | 'PREFIX_TUNING'
const PEFT_TYPES: readonly PeftType[] = ['LORA', 'PROMPT_TUNING', 'PREFIX_TUNING']

export interface PeftConfig {
  readonly type: PeftType
  /** Undefined: whatever the file holds. */
  readonly virtualTokens: number | undefined
  /** Names (or one pattern) of the modules that were adapted, as the file lists them. */
  readonly targets: readonly string[]
  /** Rank, alpha and scale of a module such as `model.layers.0.self_attn.q_proj`. */
  readonly lora: (module: string) => { readonly rank: number; readonly alpha: number; readonly scale: number }
}

/** Fields that change what the adapter computes in ways that the graphs do not have, with the value that means "not used". */
const MUST_BE: Readonly<Record<string, readonly unknown[]>> = Object.freeze({
  bias: ['none'],
  lora_bias: [false],
  fan_in_fan_out: [false],
  use_dora: [false],
  use_qalora: [false],
  alora_invocation_tokens: [],
  trainable_token_indices: [],
  layer_replication: [],
  target_parameters: [],
  modules_to_save: [],
})

/**
 * @param path for messages
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function parsePeftConfig(path: string, text: string): PeftConfig {
  const invalid = (what: string, cause?: unknown) =>
    new M4Error('FORMAT_INVALID', `${path}: ${what}`, {
      hint: 'Expected adapter_config.json as PEFT writes it.',
      ...(cause === undefined ? {} : { cause }),
    })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw invalid(`not JSON (${(cause as Error).message}).`, cause)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('expected an object.')
  const config = json as Readonly<Record<string, unknown>>
  const type = config.peft_type
  if (!PEFT_TYPES.includes(type as PeftType))
    throw new M4Error('FORMAT_UNSUPPORTED', `${path}: peft_type ${JSON.stringify(type)} is not supported.`, {
      hint: `Supported: ${PEFT_TYPES.join(', ')}.`,
    })
  refuseUnsupported(path, config)
  const positive = (key: string) => {
    const value = config[key]
    if (!Number.isInteger(value) || (value as number) < 1)
      throw invalid(`"${key}" must be a whole number, 1 or more; got ${JSON.stringify(value)}.`)
    return value as number
  }
  const targets = config.target_modules
  return {
    type: type as PeftType,
    virtualTokens: type === 'LORA' ? undefined : positive('num_virtual_tokens'),
    targets: typeof targets === 'string' ? [targets] : Array.isArray(targets) ? targets.map(String) : [],
    lora: type === 'LORA' ? loraFacts(config, positive('r'), invalid) : () => ({ rank: 0, alpha: 0, scale: 0 }),
  }
}

function refuseUnsupported(path: string, config: Readonly<Record<string, unknown>>): void {
  for (const [field, allowed] of Object.entries(MUST_BE)) {
    const value = config[field]
    const unused = value === undefined || value === null || (Array.isArray(value) && value.length === 0)
    if (!unused && !allowed.includes(value))
      throw new M4Error('FORMAT_UNSUPPORTED', `${path}: "${field}": ${JSON.stringify(value)} is not supported.`, {
        hint: 'M4 takes plain LoRA on linear layers, prompt tuning and prefix tuning.',
        details: { field, value },
      })
  }
}

/** PEFT looks patterns up as ends of the module's path. */
function loraFacts(
  config: Readonly<Record<string, unknown>>,
  r: number,
  invalid: (what: string) => M4Error,
): PeftConfig['lora'] {
  const common = config.lora_alpha ?? 8
  if (typeof common !== 'number' || !Number.isFinite(common)) throw invalid('"lora_alpha" must be a number.')
  const pattern = (key: string): readonly (readonly [RegExp, number])[] => {
    const table = config[key] ?? {}
    if (typeof table !== 'object') throw invalid(`"${key}" must be an object.`)
    return Object.entries(table as object).map(([module, value]) => {
      if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(`"${key}"."${module}" must be a number.`)
      try {
        return [new RegExp(`^(?:.*\\.)?(?:${module.replace(/^\^/, '')})$`), value] as const
      } catch {
        throw invalid(`"${key}" has the pattern "${module}", which is no regular expression.`)
      }
    })
  }
  const ranks = pattern('rank_pattern')
  const alphas = pattern('alpha_pattern')
  const lookUp = (table: typeof ranks, module: string, fallback: number) =>
    table.find(([rule]) => rule.test(module))?.[1] ?? fallback
  const stabilised = config.use_rslora === true
  return (module) => {
    const rank = lookUp(ranks, module, r)
    const alpha = lookUp(alphas, module, common)
    return { rank, alpha, scale: loraScale({ rank, alpha }, stabilised) }
  }
}
