import path from 'node:path'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import { checkoutDir, listCheckoutFiles, WORKSPACES } from './checkout-files.ts'
import { importRules } from './import-rules.ts'

/** `npm run check:imports`: who may import whom. Fails also when it read fewer files than there are: it would prove nothing. */
async function main(): Promise<number> {
  const { output } = await cruise([...WORKSPACES], {
    baseDir: checkoutDir,
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
  const unread = await findUnread(output)
  for (const file of unread) process.stderr.write(`not read: ${file}\n`)
  for (const violation of output.summary.violations) {
    const cycle = violation.cycle?.map((step) => step.name).join(' -> ') ?? ''
    process.stderr.write(`${violation.rule.name}: ${violation.from} -> ${violation.to} ${cycle}\n`)
  }
  const { totalCruised, totalDependenciesCruised = 0, violations } = output.summary
  process.stdout.write(
    `${totalCruised} modules, ${totalDependenciesCruised} imports, ${violations.length} violations\n`,
  )
  return unread.length > 0 || violations.length > 0 || totalDependenciesCruised === 0 ? 1 : 0
}

/** TypeScript files that lie on the disk and are not in the result. */
async function findUnread(result: ICruiseResult): Promise<string[]> {
  const read = new Set(result.modules.map((file) => file.source))
  const lists = await Promise.all(WORKSPACES.map(async (workspace) => await listCheckoutFiles(workspace)))
  return lists.flat().filter((file) => /\.tsx?$/.test(file) && !read.has(file))
}

process.exitCode = await main()
