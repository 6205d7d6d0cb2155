#!/usr/bin/env node
// By its path: before set-up there are no packages, and the message says what to do.
import { fileURLToPath } from 'node:url'
import { launchProgram } from '../../shared/runtime/launch-program.mjs'

await launchProgram({ name: 'sendense-edge', main: fileURLToPath(new URL('../cli/main.ts', import.meta.url)) })
