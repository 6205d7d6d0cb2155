import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { checkoutDir, listCheckoutFiles, WORKSPACES } from './checkout-files.ts'

const README_LINES_MAX = 30
const BINARY = /\.(png|jpe?g|ico|woff2?|qcow2|gz)$/
/** Hosts of package registries, and places that exist on one machine only. */
const FORBIDDEN = [
  /registry\.(npmjs|yarnpkg)\.|npm\.pkg\.github|deb\.debian\.org|(^|\W)pypi\.org/,
  /(^|[\s'"`(=:,])\/(work|root|home|Users)\/\w/,
]

test('every folder two levels down has a README of at most 30 lines', async () => {
  const problems: string[] = []
  for (const workspace of WORKSPACES) {
    const files = await listCheckoutFiles(workspace)
    const folders = new Set(
      files.map((file) => file.split(path.sep)).flatMap((parts) => (parts.length > 2 ? [parts[1]] : [])),
    )
    for (const folder of folders) {
      const readme = path.join(workspace, folder ?? '', 'README.md')
      if (!files.includes(readme)) problems.push(`${readme} is missing`)
      else if ((await lineCount(readme)) > README_LINES_MAX)
        problems.push(`${readme} has more than ${README_LINES_MAX} lines`)
    }
  }
  expect(problems).toEqual([])
})

test('no file names a registry host or a path of one machine', async () => {
  const files = await listCheckoutFiles()
  expect(files.length).toBeGreaterThan(100)
  const problems: string[] = []
  for (const file of files) {
    if (BINARY.test(file)) continue
    const lines = (await readFile(path.join(checkoutDir, file), 'utf8')).split('\n')
    for (const [index, line] of lines.entries()) {
      if (FORBIDDEN.some((pattern) => pattern.test(line)))
        problems.push(`${file}:${index + 1}: ${line.trim().slice(0, 120)}`)
    }
  }
  expect(problems).toEqual([])
})

test('the workspaces that are checked are those of package.json', async () => {
  const manifest: unknown = JSON.parse(await readFile(path.join(checkoutDir, 'package.json'), 'utf8'))
  expect(manifest).toMatchObject({ workspaces: [...WORKSPACES] })
})

async function lineCount(file: string): Promise<number> {
  return (await readFile(path.join(checkoutDir, file), 'utf8')).trimEnd().split('\n').length
}
