import process from 'node:process'
import { runRestoreTool } from './program.ts'

void runRestoreTool(process.argv.slice(2))
