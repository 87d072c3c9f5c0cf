/** Progress on stderr: lines that stay, and on a terminal one line that changes. */

let open = false

export function say(text) {
  process.stderr.write(`${open ? '\r\x1b[K' : ''}${text}\n`)
  open = false
}

let shown = 0

export function sayProgress(task, done, total) {
  const now = Date.now()
  if (!process.stderr.isTTY || (now - shown < 200 && done !== total)) return
  shown = now
  open = true
  process.stderr.write(`\r\x1b[K  ${task} ${total ? `${Math.floor((100 * done) / total)} %` : done}`)
}
