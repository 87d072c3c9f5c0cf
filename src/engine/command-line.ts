/**
 * ONNX Runtime 1.30 reads the process's command line when its environment is made, in a recursion that takes about 270 bytes of
 * stack a character: on 8 MB some 30,000 characters end the process with a segmentation fault, through either native API.
 */

import { M4Error } from '../core/errors.js'

/** Half of what 8 MB of stack hold. */
export const LONGEST_COMMAND_LINE_BYTES = 15_000

/** @throws M4Error `USAGE` for a command line that would end the process */
export function assertCommandLine(words: readonly string[] = [...process.execArgv, ...process.argv]): void {
  const bytes = Buffer.byteLength(words.join(' '))
  if (bytes > LONGEST_COMMAND_LINE_BYTES)
    throw new M4Error(
      'USAGE',
      `The command line has ${bytes} bytes; ONNX Runtime takes at most ${LONGEST_COMMAND_LINE_BYTES} safely.`,
      { hint: 'Give long input through a file or standard input (m4fm run --file).', details: { bytes } },
    )
}
