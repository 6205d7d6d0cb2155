import { useId, type ComponentProps, type ReactNode } from 'react'
import { classNames } from '../lib/class-names.ts'

export const inputStyle =
  'h-9 w-full rounded-md border border-line-strong bg-surface px-3 text-base text-ink shadow-card placeholder:text-ink-faint focus-visible:outline-offset-0 aria-invalid:border-danger'

export interface TextFieldProps extends ComponentProps<'input'> {
  label: string
  /** Below the box, always there. */
  hint?: ReactNode
  /** What is wrong with the value; replaces the hint and is read aloud. */
  problem?: string | undefined
}

export function TextField({ label, hint, problem, className, ...props }: TextFieldProps) {
  const id = useId()
  const noteId = `${id}-note`
  const hasNote = problem !== undefined || hint !== undefined
  return (
    <div className={classNames('flex flex-col gap-1.5', className)}>
      <label htmlFor={id} className="text-sm font-medium">
        {label}
      </label>
      <input
        id={id}
        className={inputStyle}
        aria-invalid={problem !== undefined}
        aria-describedby={hasNote ? noteId : undefined}
        {...props}
      />
      {hasNote ? (
        <p
          id={noteId}
          role={problem === undefined ? undefined : 'alert'}
          className={classNames('text-xs', problem === undefined ? 'text-ink-muted' : 'text-danger')}
        >
          {problem ?? hint}
        </p>
      ) : null}
    </div>
  )
}
