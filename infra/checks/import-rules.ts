import type { IForbiddenRuleType } from 'dependency-cruiser'

/** What each workspace may import beside itself; `types` only as types. ARCHITECTURE.md says why. */
const WORKSPACES: Readonly<Record<string, { readonly code: readonly string[]; readonly types?: readonly string[] }>> = {
  'shared': { code: [] },
  'billing': { code: ['shared'] },
  'cloud': { code: ['shared', 'billing'] },
  'edge-agent': { code: ['shared'] },
  'dashboard': { code: ['shared'], types: ['cloud'] },
  'cli': { code: ['shared'], types: ['cloud'] },
  'infra': { code: ['shared'] },
  'test': { code: ['shared', 'billing', 'cloud', 'edge-agent', 'cli', 'infra'], types: ['dashboard'] },
}

/** Folders of the agent from the top down. Each may import those below its own line, never a neighbour on it. */
const AGENT_LEVELS: readonly (readonly string[])[] = [
  ['restore-tool'],
  ['control-link', 'rest', 'cli'],
  ['commands'],
  ['backup', 'restore', 'replication'],
  ['jobs'],
  ['catalog'],
  ['capture'],
  ['platforms', 'applications', 'repository', 'volumes'],
  ['mover'],
  ['object-store', 'nbd', 'qemu', 'tunnel'],
  ['block'],
]

/** Folders with a program of their own, which reads its settings as main.ts does. */
const CONFIG_READERS = ['cli', 'restore-tool']

/** Folders of the agent that hold drivers: one folder a driver, none knows another. */
const DRIVER_FOLDERS = ['platforms', 'applications', 'repository', 'object-store']

/** What a repository lets the agent's database keep for it. */
const CACHED_PACKS = '^edge-agent/repository/chunk-store/(index/pack-catalogue|format/pack-directory)\\.ts$'

/** Tests and what only tests use. */
const TEST_FILES = String.raw`(\.test\.tsx?|\.conformance\.ts)$|/testing/|^test/`

/** The import rules of ARCHITECTURE.md, for dependency-cruiser. */
export function importRules(): IForbiddenRuleType[] {
  return [...workspaceRules(), ...agentLevelRules(), ...driverRules(), ...generalRules()]
}

function workspaceRules(): IForbiddenRuleType[] {
  const names = Object.keys(WORKSPACES)
  return Object.entries(WORKSPACES).flatMap(([name, { code, types = [] }]) => {
    const allowed = new Set([name, ...code, ...types])
    const forbidden = names.filter((other) => !allowed.has(other))
    const rules = [forbid(`${name}-imports-only-what-it-may`, `^${name}/`, `^(${forbidden.join('|')})/`)]
    if (types.length > 0) rules.push(typesOnly(name, types))
    return rules
  })
}

function typesOnly(name: string, types: readonly string[]): IForbiddenRuleType {
  const to = { path: `^(${types.join('|')})/`, dependencyTypesNot: ['type-only' as const] }
  return { name: `${name}-takes-types-only`, severity: 'error', from: { path: `^${name}/` }, to }
}

function agentLevelRules(): IForbiddenRuleType[] {
  const rules: IForbiddenRuleType[] = []
  for (const [level, folders] of AGENT_LEVELS.entries()) {
    const above = AGENT_LEVELS.slice(0, level).flat()
    for (const folder of folders) {
      const forbidden = [...above, ...folders.filter((other) => other !== folder)]
      const target = `^edge-agent/([^/]+\\.ts$|(${forbidden.join('|')})/)`
      const readsConfig = CONFIG_READERS.includes(folder) ? { pathNot: '^edge-agent/config\\.ts$' } : {}
      const from = { path: `^edge-agent/${folder}/`, pathNot: TEST_FILES }
      rules.push({
        name: `agent-${folder}-imports-downwards`,
        severity: 'error',
        from,
        to: { path: target, ...readsConfig },
      })
    }
  }
  // The catalogue stands beside the jobs: it knows no platform, mover or repository, but for the packs it caches.
  const below = AGENT_LEVELS.slice(AGENT_LEVELS.findIndex((folders) => folders.includes('catalog')) + 1).flat()
  const catalog = { path: '^edge-agent/catalog/', pathNot: TEST_FILES }
  rules.push({
    name: 'agent-catalog-imports-shared-only',
    severity: 'error',
    from: catalog,
    to: { path: `^edge-agent/(${below.join('|')})/`, pathNot: CACHED_PACKS },
  })
  // It must work where there is no agent any more.
  rules.push({
    name: 'agent-restore-tool-needs-no-agent',
    severity: 'error',
    from: { path: '^edge-agent/restore-tool/', pathNot: TEST_FILES },
    to: {
      path: '^edge-agent/(control-link|commands|backup|restore|jobs|catalog|capture|platforms|tunnel)/',
      reachable: true,
    },
  })
  return rules
}

function driverRules(): IForbiddenRuleType[] {
  return DRIVER_FOLDERS.map((folder) => ({
    name: `agent-${folder}-drivers-do-not-know-each-other`,
    severity: 'error',
    from: { path: `^edge-agent/${folder}/([^/]+)/`, pathNot: TEST_FILES },
    to: { path: `^edge-agent/${folder}/[^/]+/`, pathNot: `^edge-agent/${folder}/$1/` },
  }))
}

function generalRules(): IForbiddenRuleType[] {
  const browserSafe = '^shared/(contracts|domain|errors)/'
  return [
    {
      name: 'no-cycles',
      severity: 'error',
      from: { pathNot: 'node_modules' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'imports-resolve', severity: 'error', from: { pathNot: '^dashboard/' }, to: { couldNotResolve: true } },
    {
      name: 'contracts-are-browser-safe',
      severity: 'error',
      from: { path: browserSafe, pathNot: TEST_FILES },
      to: { dependencyTypes: ['core'] },
    },
    forbid('contracts-do-not-import-runtime', browserSafe, '^shared/runtime/'),
    {
      name: 'code-does-not-import-tests',
      severity: 'error',
      from: { path: String.raw`\.tsx?$`, pathNot: TEST_FILES },
      to: { path: TEST_FILES, pathNot: 'node_modules' },
    },
  ]
}

function forbid(name: string, from: string, to: string): IForbiddenRuleType {
  return { name, severity: 'error', from: { path: from, pathNot: TEST_FILES }, to: { path: to } }
}
