/** `npm run demo [-- --json]`: installs and compiles what is missing, then runs src/cli/demo.ts. */

import { ensureBuilt, ensureInstalled } from './ensure.mjs'

ensureInstalled()
ensureBuilt()
await import('../dist/cli/demo-main.js')
