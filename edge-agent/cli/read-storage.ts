import { readFile } from 'node:fs/promises'
import process from 'node:process'
import { PlatformError } from '@sendense/shared/errors/platform-error.ts'
import { readStoreCredentials } from '../config.ts'
import { type ObjectStoreConfig, parseStoreConfig, parseStoreUrl } from '../object-store/object-store-config.ts'

/** For the help of commands: what `<storage>` may be. */
export const STORAGE_HELP = [
  '',
  '<storage> is a URL or a file with the settings as JSON:',
  '  file:///mnt/nas/backups?mountPoint=/mnt/nas',
  '  s3://bucket/prefix?endpoint=https://s3.example.net&region=eu-1',
  '  azure://account/container/prefix',
  'Keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or the file.',
].join('\n')

/** The storage that a URL, with keys from the environment, or a file names. Rejects with `config.invalid`. */
export async function readStorage(storage: string): Promise<ObjectStoreConfig> {
  if (/^[a-z0-9]+:\/\//.test(storage)) return parseStoreUrl(storage, readStoreCredentials(process.env))
  let text: string
  try {
    text = await readFile(storage, 'utf8')
  } catch (error) {
    throw new PlatformError('config.invalid', `neither a URL nor a file that can be read: ${storage}`, { cause: error })
  }
  try {
    return parseStoreConfig(JSON.parse(text))
  } catch (error) {
    if (error instanceof PlatformError) throw error
    throw new PlatformError('config.invalid', `${storage} is not JSON`, { cause: error })
  }
}
