/** Tables and lists of the report. */

export function table(header, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')
}

export const bullets = (lines) => lines.map((line) => `- ${line}`).join('\n')
