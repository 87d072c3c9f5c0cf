/** An adapter in the form that the backbone takes it, whatever file it came from. */

export interface AdapterTensors {
  readonly name: string
  /** Packed LoRA by place (`layers.3/attn/qkv`): y += x·A·B, alpha/rank already in B. Places left out have rank 0. */
  readonly lora: ReadonlyMap<string, PackedLora>
  /** Prompt tuning: embeddings [n, C] in front of the prompt. */
  readonly softPrompt?: { readonly tokens: number; readonly embeddings: Float32Array }
  /** Prefix tuning: keys and values [K, n, D] of each layer in front of the cache; keys are not rotated. */
  readonly prefix?: {
    readonly tokens: number
    readonly layers: readonly { readonly key: Float32Array; readonly value: Float32Array }[]
  }
  /** LLaMA-Adapter: what attention may look at beside the context in each layer; undefined where a layer has none. */
  readonly gatedPrompt?: { readonly layers: readonly (GatedPromptLayer | undefined)[] }
}

export interface GatedPromptLayer {
  /** Keys and values [H, n, D] of the n rows; keys are not rotated. */
  readonly key: Float32Array
  readonly value: Float32Array
  /** How much each head takes of it, [H]. */
  readonly gates: Float32Array
}

export interface PackedLora {
  /** Sum of the ranks of the parts. */
  readonly rank: number
  readonly a: Float32Array // [in, R]: the parts' A side by side
  readonly b: Float32Array // [R, out]: block-diagonal
}
