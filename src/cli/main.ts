#!/usr/bin/env node
/** The command `m4fm`: reads the arguments, runs one command, ends with its exit code. */

import { runMain } from './program.js'

process.exitCode = await runMain(process.argv.slice(2))
