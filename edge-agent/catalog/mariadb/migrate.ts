import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import type { Pool } from 'mysql2'
import { z } from 'zod'

const migrationsDirectory = new URL('./migrations/', import.meta.url)
const LOCK_TIMEOUT_SECONDS = 60
const LockRows = z.array(z.object({ taken: z.number().nullable() }))
const AppliedRows = z.array(z.object({ name: z.string(), sha256: z.string() }))

/**
 * Brings the schema up to date: every file of migrations/ once, in order of name. One agent at a time: others wait.
 * MariaDB commits each statement that defines something by itself, so whoever is killed in the middle of a file runs it
 * again from its start: every statement must be one that may run twice.
 * Rejects with `config.invalid` when a file that was applied has changed since, or the database knows a newer one, and
 * with `database.unavailable` while another agent migrates.
 */
export async function migrateCatalogue(pool: Pool): Promise<void> {
  const connection = await pool.promise().getConnection()
  try {
    const [locks] = await connection.query("SELECT GET_LOCK('sendense-migrate', ?) AS taken", [LOCK_TIMEOUT_SECONDS])
    if (LockRows.parse(locks)[0]?.taken !== 1) {
      throw new PlatformError('database.unavailable', 'another agent has been migrating the catalogue for a minute')
    }
    await connection.query(
      `CREATE TABLE IF NOT EXISTS schema_migration (
         name VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
         sha256 CHAR(64) CHARACTER SET ascii NOT NULL,
         applied_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3))) ENGINE=InnoDB`,
    )
    const [rows] = await connection.query('SELECT name, sha256 FROM schema_migration')
    const applied = new Map(AppliedRows.parse(rows).map((row) => [row.name, row.sha256]))
    for (const file of await readMigrations()) {
      const known = applied.get(file.name)
      applied.delete(file.name)
      if (known === file.sha256) continue
      if (known !== undefined) {
        throw new PlatformError('config.invalid', `migration ${file.name} was changed after it had been applied`)
      }
      for (const statement of file.statements) await connection.query(statement)
      await connection.query('INSERT INTO schema_migration (name, sha256) VALUES (?, ?)', [file.name, file.sha256])
    }
    const [unknown] = applied.keys()
    if (unknown !== undefined) {
      throw new PlatformError('config.invalid', `the catalogue was migrated by a newer agent (${unknown})`)
    }
  } finally {
    await connection.query("SELECT RELEASE_LOCK('sendense-migrate')").catch(() => undefined)
    connection.release()
  }
}

async function readMigrations(): Promise<{ name: string; sha256: string; statements: string[] }[]> {
  const names = (await readdir(migrationsDirectory)).filter((name) => name.endsWith('.sql')).toSorted()
  return await Promise.all(
    names.map(async (name) => {
      const text = await readFile(new URL(name, migrationsDirectory), 'utf8')
      const statements = text
        .replaceAll(/^--.*$/gm, '')
        .split(/;\s*$/m)
        .map((statement) => statement.trim())
        .filter((statement) => statement !== '')
      return { name, sha256: createHash('sha256').update(text).digest('hex'), statements }
    }),
  )
}
