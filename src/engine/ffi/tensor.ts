/** A tensor over JavaScript memory, known to ONNX Runtime by its address. */

import { formatDims } from '../../core/dims.js'
import { Handle } from '../../core/disposal.js'
import { type DataOf, DTYPES, type DType, dtypeFromOnnx } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { backing, isDetached } from '../memory.js'
import type { Tensor } from '../types.js'
import type { Pointer } from './api.js'
import { check, create, type Runtime } from './runtime.js'

/** Empty arrays have no address; ONNX Runtime wants one all the same. */
const somewhere = new BigUint64Array(new ArrayBuffer(64))

export class FfiTensor extends Handle implements Tensor {
  readonly #runtime: Runtime
  readonly #data: DataOf
  readonly #count: number
  readonly #value: Pointer

  constructor(
    runtime: Runtime,
    readonly dtype: DType,
    readonly dims: readonly number[],
    data?: DataOf,
  ) {
    const memory = backing(dtype, dims, data)
    const shape = BigInt64Array.from(dims, BigInt)
    const value = create(
      runtime.api,
      'CreateTensorWithDataAsOrtValue',
      runtime.cpuMemory,
      runtime.library.koffi.address(memory.length === 0 ? somewhere : memory),
      memory.byteLength,
      dims.length === 0 ? null : shape,
      dims.length,
      DTYPES[dtype].onnx,
    )
    super('tensor')
    this.#runtime = runtime
    this.#data = memory
    this.#count = memory.length
    this.#value = value
  }

  get data(): DataOf {
    this.assertLive('Reading a tensor')
    return this.#data
  }

  /** The native value, for binding. @throws M4Error `DISPOSED`, also when its memory was transferred elsewhere */
  native(doing: string): Pointer {
    this.assertLive(doing)
    if (isDetached(this.#data, this.#count))
      throw new M4Error(
        'DISPOSED',
        `${doing}: the memory of tensor ${this.dtype}${formatDims(this.dims)} was detached.`,
        {
          hint: 'Do not transfer the buffer of a tensor to a worker; copy it.',
        },
      )
    return this.#value
  }

  /** The typed array, without asking whether the tensor is live. */
  get memory(): DataOf {
    return this.#data
  }

  protected override release(): void {
    this.#runtime.api.ReleaseValue(this.#value)
  }
}

/** Copies a value that ONNX Runtime allocated into a new tensor. The value still belongs to the caller. */
export function copyOut(runtime: Runtime, value: Pointer, name: string): FfiTensor {
  const { api, library } = runtime
  const info = create(api, 'GetTensorTypeAndShape', value)
  const { dtype, dims } = readTypeAndShape(runtime, info, name)
  api.ReleaseTensorTypeAndShapeInfo(info)
  const tensor = new FfiTensor(runtime, dtype, dims)
  const target = tensor.memory
  if (target.byteLength > 0) {
    const address = create(api, 'GetTensorMutableData', value)
    const source = new Uint8Array(library.koffi.view(address, target.byteLength))
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(source)
  }
  return tensor
}

/** Element type and sizes (-1: unknown) of an OrtTensorTypeAndShapeInfo. @throws M4Error `FORMAT_UNSUPPORTED` */
export function readTypeAndShape(runtime: Runtime, info: Pointer, name: string): { dtype: DType; dims: number[] } {
  const { api } = runtime
  const code = Number(create(api, 'GetTensorElementType', info))
  const dtype = dtypeFromOnnx(code)
  if (!dtype)
    throw new M4Error('FORMAT_UNSUPPORTED', `"${name}" has ONNX element type ${code}, which M4 does not use.`, {
      details: { name, elementType: code },
    })
  const rank = Number(create(api, 'GetDimensionsCount', info))
  const sizes = new BigInt64Array(Math.max(rank, 1))
  check(api, api.GetDimensions(info, sizes, rank), 'GetDimensions')
  return { dtype, dims: Array.from(sizes.subarray(0, rank), Number) }
}
