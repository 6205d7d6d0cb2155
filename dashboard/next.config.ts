import path from 'node:path'
import type { NextConfig } from 'next'

const workspaceRoot = path.resolve(import.meta.dirname, '..')

/** The portal is served behind the cloud's origin, which sets transport headers and answers `/trpc` itself. */
const config: NextConfig = {
  reactStrictMode: true,
  poweredByHeader: false,
  // The cloud's proxy is on the same machine: compressing twice only costs time.
  compress: false,
  transpilePackages: ['@sendense/shared'],
  turbopack: { root: workspaceRoot },
  outputFileTracingRoot: workspaceRoot,
  // `npm run check:types` checks them with the settings of the whole repository; a build only builds.
  typescript: { ignoreBuildErrors: true },
}

export default config
