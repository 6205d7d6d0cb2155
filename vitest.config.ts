import { defineConfig } from 'vitest/config'

const ignored = ['**/node_modules/**', '**/.next/**']

/**
 * unit: no server, no QEMU; all of it under a minute. real: starts what it needs (QEMU, MariaDB, PostgreSQL, Mosquitto)
 * in temporary directories. stack: the whole product, with guests and a browser, one file at a time.
 */
export default defineConfig({
  test: {
    reporters: process.env['CI'] === undefined ? ['default'] : ['default', './infra/checks/closing-line-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...ignored, '**/*.real.test.ts', 'test/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'real',
          include: ['**/*.real.test.ts', 'test/interop/**/*.test.ts', 'test/compat/**/*.test.ts'],
          exclude: ignored,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'stack',
          include: ['test/e2e/**/*.test.ts', 'test/fault/**/*.test.ts'],
          exclude: ignored,
          testTimeout: 300_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
