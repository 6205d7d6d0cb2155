import { readdir } from 'node:fs/promises'
import path from 'node:path'

export const checkoutDir = path.resolve(import.meta.dirname, '../..')

/** The folders that are npm workspaces, as package.json lists them. */
export const WORKSPACES = ['shared', 'edge-agent', 'billing', 'cloud', 'dashboard', 'cli', 'infra', 'test'] as const

/** What .gitignore leaves out, and git's own. */
const NOT_OURS = new Set(['node_modules', '.next', '.turbo', '.sendense', '.git', 'coverage', 'test-results'])
const GENERATED = /\.tsbuildinfo$|^next-env\.d\.ts$/

/** Paths, from the checkout, of all files that belong to the repository below a folder; sorted. */
export async function listCheckoutFiles(folder = '.'): Promise<string[]> {
  const files: string[] = []
  for (const entry of await readdir(path.join(checkoutDir, folder), { withFileTypes: true })) {
    const name = path.join(folder, entry.name)
    if (NOT_OURS.has(entry.name) || GENERATED.test(entry.name)) continue
    if (entry.isDirectory()) files.push(...(await listCheckoutFiles(name)))
    else if (entry.isFile()) files.push(name)
  }
  return files.toSorted()
}
