import { classNames } from '../lib/class-names.ts'

/** The three stacked layers of the product's sign, with its name beside it. */
export function BrandMark({ className }: { className?: string }) {
  return (
    <span className={classNames('inline-flex items-center gap-2.5', className)}>
      <span className="grid size-7 place-items-center rounded-[7px] bg-accent text-accent-ink">
        <svg viewBox="0 0 18 18" aria-hidden className="size-4.5" fill="none" stroke="currentColor" strokeWidth="1.5">
          <path strokeLinejoin="round" strokeLinecap="round" d="M3 5.5 9 2.5l6 3-6 3zM3 9.2l6 3 6-3M3 12.7l6 3 6-3" />
        </svg>
      </span>
      <span className="text-[1.0625rem] font-semibold tracking-[-0.02em]">Sendense</span>
    </span>
  )
}
