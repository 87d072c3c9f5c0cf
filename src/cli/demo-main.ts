/** Entry of `scripts/demo.mjs`: the demo with the streams, signals and errors of the command line. */

import { runDemo } from './demo.js'
import { runContext } from './program.js'

process.exitCode = await runContext(process.argv.slice(2), async (context) => {
  await runDemo(context)
  return 0
})
