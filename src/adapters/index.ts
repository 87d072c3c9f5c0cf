/** Adapters: PEFT folders and lit-llama files → tensors that the backbone takes. */

export { type AdapterFinding, type FindingCode, type ReadAdapter, usableAdapter } from './findings.js'
export { type ImageBindLora, type ImageBindTower, readImageBindLora } from './imagebind-lora.js'
export { type LitLlamaLoraOptions, readLitLlamaLora } from './lit-llama.js'
export {
  type ReadPromptAdapter,
  readLitLlamaPrompt,
} from './lit-llama-prompt.js'
export {
  type Projection,
  type ReadPandaGpt,
  readPandaGpt,
} from './pandagpt.js'
export { readPeftAdapter } from './peft.js'
export { type AdapterKind, type AdapterReport, type ReadOptions, recogniseAdapter } from './recognise.js'
export type { AdapterTensors, GatedPromptLayer, PackedLora } from './types.js'
