/** What ONNX Runtime says, as typed errors: by its status code where the backend tells it, else by the words of its message. */

import { type ErrorCode, M4Error } from '../core/errors.js'

/** `OrtErrorCode` of onnxruntime_c_api.h → our code. Codes that are not listed are `ENGINE`. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = Object.freeze({
  3: 'FILE_NOT_FOUND', // NO_SUCHFILE
  4: 'FORMAT_INVALID', // NO_MODEL
  7: 'FORMAT_INVALID', // INVALID_PROTOBUF
  10: 'FORMAT_INVALID', // INVALID_GRAPH
})

/** Tried in order. They come before the status code, because ONNX Runtime files many different failures under `FAIL`. */
const BY_TEXT: readonly (readonly [pattern: RegExp, code: ErrorCode])[] = [
  [
    /shape verification failed|output OrtValue provided for output|invalid dimensions for input|invalid rank for input|unexpected input data type/i,
    'SHAPE_MISMATCH',
  ],
  [/bad_alloc|failed to allocate memory|out of memory|array buffer allocation failed/i, 'OUT_OF_MEMORY'],
  [
    /doesn'?t exist|does not exist|no such file|module\.mountedfiles|external data file|external file/i,
    'FILE_NOT_FOUND',
  ],
  [
    /protobuf parsing failed|invalid protobuf|not a valid model|fail.* to load model|this is an invalid model/i,
    'FORMAT_INVALID',
  ],
]

/** The status code that ORT web and the C++ exceptions of ORT node write into their message. */
const CODE_IN_TEXT = /ERROR_CODE: (\d+)/

/**
 * @param doing what was tried, e.g. `Loading /x/model.onnx`
 * @param text ONNX Runtime's own message
 * @param status `OrtErrorCode`, where known
 */
export function ortError(doing: string, text: string, status?: number, cause?: unknown): M4Error {
  const code = status ?? Number(CODE_IN_TEXT.exec(text)?.[1] ?? Number.NaN)
  const kind = BY_TEXT.find(([pattern]) => pattern.test(text))?.[1] ?? BY_STATUS[code] ?? 'ENGINE'
  return new M4Error(kind, `${doing}: ONNX Runtime says: ${text.trim()}`, {
    details: { ...(Number.isNaN(code) ? {} : { ortStatus: code }) },
    ...(cause === undefined ? {} : { cause }),
  })
}

/** @param stopped true when the run was cut short, false when it had ended before the abort was seen */
export function aborted(signal: AbortSignal | undefined, stopped: boolean): M4Error {
  return new M4Error('ABORTED', 'The run was cancelled.', { cause: signal?.reason, details: { stopped } })
}
