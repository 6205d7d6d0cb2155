import path from 'node:path'
import { cruise } from 'dependency-cruiser'
import { checkoutDir, listCheckoutFiles, WORKSPACES } from './checkout-files.ts'
import { importRules } from './import-rules.ts'

export interface ImportCheck {
  readonly modules: number
  readonly imports: number
  /** One line each: the rule, who imports what. */
  readonly violations: readonly string[]
}

/** Reads every import below the given folders of a directory and holds it against the rules. */
export async function checkImports(
  baseDir: string,
  folders: readonly string[],
): Promise<ImportCheck & { read: Set<string> }> {
  const { output } = await cruise([...folders], {
    baseDir,
    validate: true,
    ruleSet: { forbidden: importRules() },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: String.raw`(^|/)(\.next|\.turbo)/|next-env\.d\.ts$` },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: path.join(checkoutDir, 'tsconfig.base.json') },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
    parser: 'tsc',
  })
  if (typeof output === 'string') throw new TypeError('dependency-cruiser answers with an object')
  const violations = output.summary.violations.map((violation) => {
    const cycle = violation.cycle === undefined ? '' : ` (${violation.cycle.map((step) => step.name).join(' -> ')})`
    return `${violation.rule.name}: ${violation.from} -> ${violation.to}${cycle}`
  })
  return {
    modules: output.summary.totalCruised,
    imports: output.summary.totalDependenciesCruised ?? 0,
    violations,
    read: new Set(output.modules.map((file) => file.source)),
  }
}

/** `npm run check:imports`: who may import whom. Fails also when it read fewer files than there are: it would prove nothing. */
async function main(): Promise<number> {
  const { modules, imports, violations, read } = await checkImports(checkoutDir, WORKSPACES)
  const lists = await Promise.all(WORKSPACES.map(async (workspace) => await listCheckoutFiles(workspace)))
  const unread = lists.flat().filter((file) => /\.tsx?$/.test(file) && !read.has(file))
  for (const line of [...unread.map((file) => `not read: ${file}`), ...violations]) process.stderr.write(`${line}\n`)
  process.stdout.write(`${modules} modules, ${imports} imports, ${violations.length} violations\n`)
  return unread.length > 0 || violations.length > 0 || imports === 0 ? 1 : 0
}

if (import.meta.main) process.exitCode = await main()
