import { chmod, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const here = import.meta.dirname

/** The first Node whose `zlib` has zstd. */
const NODE_MIN = [22, 15] as const

/**
 * What stands before the bundle: says what is missing on an older Node, in words that it understands, before anything of the
 * bundle is loaded; and gives CommonJS modules what they count on.
 */
const HEAD = `#!/usr/bin/env node
import { createRequire as __createRequire } from 'node:module'
const [__major, __minor] = process.versions.node.split('.').map(Number)
if (__major < ${NODE_MIN[0]} || (__major === ${NODE_MIN[0]} && __minor < ${NODE_MIN[1]})) {
  console.error('sendense-restore needs Node ${NODE_MIN.join('.')} or newer; this is Node ' + process.versions.node + '.')
  console.error('Install one from your distribution or from nodejs.org: unpacking its archive anywhere is enough.')
  process.exit(1)
}
const __bundleUrl = import.meta.url
const require = __createRequire(__bundleUrl)
const module = { exports: {} }
const exports = module.exports
;(function () {
`
const TAIL = '\n})()\n'

/** Native addons are for one machine: the bundle has WebAssembly in their place. */
const wasmInsteadOfAddons: Plugin = {
  name: 'wasm-instead-of-addons',
  setup(bundler) {
    const takes = (filter: RegExp, file: string): void => {
      bundler.onResolve({ filter }, () => ({ path: path.join(here, file) }))
    }
    takes(/^@napi-rs\/blake-hash$/, 'wasm-blake-hash.ts')
    takes(/\/keyed-hash\.ts$/, 'wasm-blake-hash.ts')
    takes(/^@node-rs\/argon2$/, 'wasm-argon2.ts')
  },
}

/** Makes the one file of the restore tool. Everything it needs besides Node is in it. @returns its size in bytes */
export async function buildRestoreTool(outfile: string): Promise<number> {
  await mkdir(path.dirname(outfile), { recursive: true })
  const { warnings } = await build({
    absWorkingDir: root,
    entryPoints: [path.join(here, '../main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node22',
    supported: { 'using': false, 'top-level-await': false },
    define: { 'import.meta.url': '__bundleUrl' },
    inject: [path.join(here, 'disposable-stacks.ts')],
    plugins: [wasmInsteadOfAddons],
    banner: { js: HEAD },
    footer: { js: TAIL },
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'inline',
    charset: 'utf8',
    logLevel: 'silent',
  })
  if (warnings.length > 0)
    throw new Error(warnings.map(({ text, location }) => `${location?.file}: ${text}`).join('\n'))
  await chmod(outfile, 0o755)
  return (await readFile(outfile)).length
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outfile = path.resolve(process.argv[2] ?? path.join(root, 'dist/sendense-restore.mjs'))
  const sizeBytes = await buildRestoreTool(outfile)
  process.stdout.write(`${outfile}  ${sizeBytes} bytes\n`)
}
