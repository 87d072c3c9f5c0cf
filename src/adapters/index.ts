/** Adapters: files of every released kind → tensors that the backbone takes; trained tensors → packages; the store of a device. */

export { type AdapterFinding, type FindingCode, type ReadAdapter, usableAdapter } from './findings.js'
export { readGgufAdapter, writeGgufAdapter } from './gguf-adapter.js'
export { type GgufValue, writeGguf } from './gguf-write.js'
export { type ImageBindLora, type ImageBindTower, readImageBindLora } from './imagebind-lora.js'
export { type LitLlamaLoraOptions, readLitLlamaLora } from './lit-llama.js'
export {
  type ReadPromptAdapter,
  readLitLlamaPrompt,
} from './lit-llama-prompt.js'
export { type MergeOptions, type MergeReport, mergeAdapter } from './merge.js'
export { modelVersion, type OnnxAdapterOptions, readOnnxAdapter, writeOnnxAdapter } from './onnx-adapter.js'
export {
  ADAPTER_MAX_BYTES,
  type AdapterPackage,
  type PackageParts,
  packageFiles,
  readAdapterPackage,
  writeAdapterPackage,
} from './package.js'
export {
  type AdapterBase,
  type AdapterFacts,
  type AdapterManifest,
  EVAL_FILE,
  HEAD_FILE,
  isAdapterName,
  type MetricRecord,
  PACKAGE_FILE,
  type PackageKind,
  type PackageSignature,
  packageDigest,
  parsePackageManifest,
  type TrainingRecord,
} from './package-manifest.js'
export {
  type Projection,
  type ReadPandaGpt,
  readPandaGpt,
} from './pandagpt.js'
export { readPeftAdapter } from './peft.js'
export { type PartPadding, type Place, partPadding, unpackHeads, unpackPart } from './places.js'
export { type AdapterKind, type AdapterReport, type ReadOptions, recogniseAdapter } from './recognise.js'
export { type PackageVerification, signPackage, verifyPackage } from './signature.js'
export {
  type AdapterFit,
  adapterFit,
  type InstallOptions,
  installAdapter,
  listAdapters,
  removeAdapter,
  requireAbi,
  resolveAdapter,
  type StoreEntry,
  type StoreOptions,
} from './store.js'
export {
  checkTrained,
  type LoraPartName,
  loraScale,
  packTrained,
  type TrainedAdapter,
  type TrainedLora,
  type TrainedPart,
  type TrainedPrefix,
  type TrainedPrompt,
} from './trained.js'
export type { AdapterTensors, GatedPromptLayer, PackedLora } from './types.js'
export {
  recallVerdict,
  rememberVerdict,
  requireNotRefused,
  VERDICTS,
  type Verdict,
  type VerdictRecord,
} from './verdicts.js'
export { type PeftOptions, peftFiles, type StorageDType, writePeftFolder } from './write-peft.js'
