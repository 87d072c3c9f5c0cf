/** A voice that someone else wrote, as small as can be. */

import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import type { Source } from '../../src/checkpoint/sources/index.js'
import { TensorProto_DataType as Element, ModelProtoSchema } from '../../src/graph/proto/generated/onnx_pb.js'

const dims = (...sizes: (string | number)[]) =>
  sizes.map((size) =>
    typeof size === 'string'
      ? { value: { case: 'dimParam' as const, value: size } }
      : { value: { case: 'dimValue' as const, value: BigInt(size) } },
  )
const port = (name: string, elemType: number, ...sizes: (string | number)[]) => ({
  name,
  type: { value: { case: 'tensorType' as const, value: { elemType, shape: { dim: dims(...sizes) } } } },
})
/** A file of ONNX that says style, then sin(id / speed): an operator that is not in our table, ports as Kokoro names them. */
export const sineVoice = (): Uint8Array =>
  toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: '', version: 17n }],
      graph: {
        name: 'kokoro-like',
        input: [
          port('input_ids', Element.INT64, 1, 'sequence_length'),
          port('style', Element.FLOAT, 1, 2),
          port('speed', Element.FLOAT, 1),
        ],
        node: [
          { opType: 'Cast', input: ['input_ids'], output: ['ids'], attribute: [{ name: 'to', type: 2, i: 1n }] },
          { opType: 'Div', input: ['ids', 'speed'], output: ['slow'] },
          { opType: 'Sin', input: ['slow'], output: ['sines'] },
          {
            opType: 'Concat',
            input: ['style', 'sines'],
            output: ['waveform'],
            attribute: [{ name: 'axis', type: 2, i: 1n }],
          },
        ],
        output: [port('waveform', Element.FLOAT, 1, 'samples')],
      },
    }),
  )

/** A pinned file on this disk. */
export function pinnedFile(home: string, name: string, content: string | Uint8Array): Source {
  const path = join(home, name)
  writeFileSync(path, content)
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  return {
    name,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    bytes: bytes.length,
    licence: 'CC0-1.0',
    uris: [`file:${path}`],
  }
}
