/** Checkpoint readers: safetensors, torch, GGUF, ggml (Whisper), Meta folders, ONNX initialisers; one writer, for adapters. */

export { type ByteSource, memorySource } from './byte-source.js'
export { detectFormat, type FileFormat } from './detect.js'
export { FileSource } from './file.js'
export { openGgmlWhisper, type WhisperDims, type WhisperMetadata } from './ggml-whisper.js'
export { openGguf } from './gguf.js'
export { dequantiseBlocks, type NativeCodes, nativeCodes } from './gguf-blocks.js'
export { BLOCK_SHAPES } from './gguf-types.js'
export { type OpenExternal, openOnnx } from './onnx-initializers.js'
export { openCheckpoint } from './open.js'
export { openSafetensors } from './safetensors.js'
export { writeSafetensors } from './safetensors-write.js'
export { openTorchLegacy, openTorchZip } from './torch.js'
export type {
  Checkpoint,
  CheckpointFormat,
  CheckpointTensor,
  GgufBlockType,
  StorageType,
} from './types.js'
