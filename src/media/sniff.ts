/** What bytes look like that were given as sound and are not a WAV file: for messages, never for decisions. */

/** Magic bytes (Latin-1) at an offset, first match wins. */
const SIGNATURES: readonly { readonly at: number; readonly magic: string; readonly what: string }[] = Object.freeze([
  { at: 0, magic: 'RIFX', what: 'a big-endian WAV file (RIFX)' },
  { at: 0, magic: 'RF64', what: 'a WAV file beyond 4 GB (RF64)' },
  { at: 0, magic: 'BW64', what: 'a WAV file beyond 4 GB (BW64)' },
  { at: 8, magic: 'AVI ', what: 'an AVI video' },
  { at: 8, magic: 'WEBP', what: 'a WebP picture' },
  { at: 0, magic: 'ID3', what: 'an MP3 file' },
  { at: 0, magic: 'fLaC', what: 'a FLAC file' },
  { at: 0, magic: 'OggS', what: 'an Ogg file (Opus or Vorbis)' },
  { at: 4, magic: 'ftyp', what: 'an MP4 or M4A file' },
  { at: 0, magic: '\x1aE\xdf\xa3', what: 'a WebM or Matroska file' },
  { at: 0, magic: 'FORM', what: 'an AIFF file' },
  { at: 0, magic: '.snd', what: 'an AU file' },
  { at: 0, magic: 'NIST_1A', what: 'a NIST SPHERE file' },
  { at: 0, magic: '\x89PNG', what: 'a PNG picture' },
  { at: 0, magic: '\xff\xd8\xff', what: 'a JPEG picture' },
  { at: 0, magic: 'PK\x03\x04', what: 'a zip archive' },
  { at: 0, magic: '\x1f\x8b', what: 'a gzip archive' },
  { at: 0, magic: '%PDF', what: 'a PDF document' },
  { at: 0, magic: 'version https://git-lfs', what: 'a Git LFS pointer, not the file itself' },
])

/** "an MP3 file", "an HTML page", "nothing: it is empty", or "unknown data" with its first bytes. */
export function describeBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'empty'
  const head = String.fromCharCode(...bytes.subarray(0, 64))
  for (const { at, magic, what } of SIGNATURES) if (head.startsWith(magic, at)) return what
  // MPEG audio without a tag: 11 sync bits, then a layer that is not the reserved 0 (AAC in ADTS has layer 0).
  if (bytes[0] === 0xff && (bytes[1]! & 0xe0) === 0xe0) return (bytes[1]! & 0x06) === 0 ? 'an AAC file' : 'an MP3 file'
  if (/^\s*(<!doctype|<html|<head)/i.test(head)) return 'an HTML page, perhaps an error page of a download'
  if (/^\s*[{[]/.test(head)) return 'JSON text'
  const hex = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
  return `unknown data that begins with ${hex}`
}
