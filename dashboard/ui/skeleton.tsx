import { classNames } from '../lib/class-names.ts'

/** Stands where something will be, in its size. */
export function Skeleton({ className }: { className?: string }) {
  return <span aria-hidden className={classNames('block animate-pulse rounded-md bg-inset', className)} />
}

/** Rows of a table that is being read. Screen readers hear one word instead. */
export function SkeletonRows({ rows = 4 }: { rows?: number }) {
  return (
    <output aria-label="Loading" className="block divide-y divide-line">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="flex items-center gap-6 px-4 py-3.5">
          <Skeleton className="h-3.5 w-1/4" />
          <Skeleton className="h-3.5 w-1/6" />
          <Skeleton className="h-3.5 w-1/5" />
          <Skeleton className="ml-auto h-3.5 w-20" />
        </div>
      ))}
    </output>
  )
}
