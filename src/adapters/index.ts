/** Adapters: PEFT folders and lit-llama files → tensors that the backbone takes. */

export { type AdapterFinding, type FindingCode, type ReadAdapter, usableAdapter } from './findings.js'
export { type LitLlamaLoraOptions, readLitLlamaLora } from './lit-llama.js'
export { readPeftAdapter } from './peft.js'
export type { AdapterTensors, PackedLora } from './types.js'
