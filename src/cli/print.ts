/** Text for people: tables, units, dimmed lines. Nothing here writes; nothing colours a file or a pipe. */

/** Columns padded to the widest cell; numbers (cells of digits and units) to the right. */
export function table(rows: readonly (readonly string[])[], align: readonly ('left' | 'right')[] = []): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, displayWidth(cell))
  const pad = (cell: string, i: number) => {
    const space = ' '.repeat(widths[i]! - displayWidth(cell))
    return align[i] === 'right' ? space + cell : cell + space
  }
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n')
}

/** Code points are near enough: the tables hold names and numbers. */
const displayWidth = (text: string) => [...text].length

export const indent = (text: string, by = '  '): string => text.replace(/^(?=.)/gm, by)

/** `0.8 ms`, `812 ms`, `3.1 s`, `2 min 05 s`. */
export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}

export const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

interface Terminal {
  readonly isTTY?: boolean
}

/** Whether escape sequences are wanted there. @see https://no-color.org */
export function hasColour(stream: Terminal, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
}

export function dim(text: string, stream: Terminal, env?: NodeJS.ProcessEnv): string {
  return hasColour(stream, env) ? text.replace(/.+/g, '\u001b[2m$&\u001b[22m') : text
}

/** Typed arrays as plain lists: JSON.stringify would write them as objects. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) =>
    ArrayBuffer.isView(entry) && !(entry instanceof DataView) ? Array.from(entry as Float32Array) : entry,
  )
}
