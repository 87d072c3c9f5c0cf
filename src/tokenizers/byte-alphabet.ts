/** GPT-2's printable stand-ins for bytes: the 188 printable Latin-1 bytes are themselves, the others follow from U+0100. */

/** byte → character */
export const BYTE_TO_CHARACTER: readonly string[] = Object.freeze(
  (() => {
    let next = 256
    return Array.from({ length: 256 }, (_, byte) => {
      const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
      return String.fromCharCode(printable ? byte : next++)
    })
  })(),
)

/** character → byte */
export const CHARACTER_TO_BYTE: ReadonlyMap<string, number> = new Map(
  BYTE_TO_CHARACTER.map((character, byte) => [character, byte]),
)

/** Bytes in GPT-2's alphabet. */
export function toByteAlphabet(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += BYTE_TO_CHARACTER[byte]
  return text
}
