import { join } from 'node:path'
import { DiskId } from '@sendense/shared/contracts/identifiers.ts'
import { z } from 'zod'

/** Folders of a repository, relative to its directory. FORMAT.md, "Files". */
export const folders = {
  layers: 'layers',
  pages: 'pages',
  manifests: 'rp',
  placements: 'placements',
  partial: '.partial',
  locks: 'locks',
} as const

export const DESCRIPTOR_FILE = 'repo.json'

/** Path of a sealed layer, relative to the repository, with `/`. This is what manifests hold. No id is used twice. */
export function layerPath(vmId: string, diskId: string, layerId: string): string {
  return `${folders.layers}/${vmId}/${diskId}/${layerId}.qcow2`
}

/** The ids in a layer's path, or undefined where it is none: a manifest must not name any other file. */
export function parseLayerPath(path: string): { vmId: string; diskId: string; layerId: string } | undefined {
  const [folder, vmId, diskId, file, ...rest] = path.split('/')
  const layerId = file?.endsWith('.qcow2') === true ? file.slice(0, -'.qcow2'.length) : undefined
  if (folder !== folders.layers || rest.length > 0) return undefined
  const parsed = z.object({ vmId: z.uuid(), diskId: DiskId, layerId: z.uuid() }).safeParse({ vmId, diskId, layerId })
  return parsed.success ? parsed.data : undefined
}

/** Whether a path from outside is that of a layer of this disk and of nothing else. */
export function isLayerOf(path: string, vmId: string, diskId: string): boolean {
  const parsed = parseLayerPath(path)
  return parsed?.vmId === vmId && parsed.diskId === diskId
}

export function pagePath(hash: string): string {
  return join(folders.pages, hash.slice(0, 2), hash)
}

/** `2026-11-23T21:45:34.123Z` → `20261123T214534.123Z`: sorts by time and is a plain file name. */
export function manifestFileName(takenAt: string, restorePointId: string): string {
  return `${new Date(takenAt).toISOString().replaceAll(/[-:]/g, '')}-${restorePointId}.json`
}

export function manifestPath(vmId: string, takenAt: string, restorePointId: string): string {
  return join(folders.manifests, vmId, manifestFileName(takenAt, restorePointId))
}

/** The restore point's id in a manifest's file name, or undefined for other files. */
export function parseManifestFileName(name: string): string | undefined {
  return /^\d{8}T\d{6}\.\d{3}Z-([0-9a-f-]{36})\.json$/.exec(name)?.[1]
}

/** Revisions are padded so that names sort by them. */
export function placementFileName(restorePointId: string, revision: number): string {
  return `${restorePointId}-${String(revision).padStart(6, '0')}.json`
}

/** What a placement's file name says, or undefined for other files. */
export function parsePlacementFileName(name: string): { restorePointId: string; revision: number } | undefined {
  const [, restorePointId = '', digits = ''] = /^([0-9a-f-]{36})-(\d{6,})\.json$/.exec(name) ?? []
  const revision = Number(digits)
  return revision > 0 && placementFileName(restorePointId, revision) === name ? { restorePointId, revision } : undefined
}
