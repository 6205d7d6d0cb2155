'use client'

import { RadioGroup } from 'radix-ui'
import { useId } from 'react'

export interface Choice<V extends string> {
  readonly value: V
  readonly label: string
  readonly hint: string
}

export interface ChoiceFieldProps<V extends string> {
  legend: string
  choices: readonly Choice<V>[]
  value: V
  onValueChange: (value: V) => void
}

/** One of a few, each with a sentence about what it means. */
export function ChoiceField<V extends string>({ legend, choices, value, onValueChange }: ChoiceFieldProps<V>) {
  const id = useId()
  const choose = (text: string) => {
    const choice = choices.find((candidate) => candidate.value === text)
    if (choice !== undefined) onValueChange(choice.value)
  }
  return (
    <RadioGroup.Root value={value} onValueChange={choose} aria-label={legend} className="grid gap-2">
      {choices.map((choice) => (
        <label
          key={choice.value}
          htmlFor={`${id}-${choice.value}`}
          className="flex cursor-pointer items-start gap-3 rounded-lg border border-line p-3 has-data-[state=checked]:border-accent has-data-[state=checked]:bg-accent-soft"
        >
          <RadioGroup.Item
            id={`${id}-${choice.value}`}
            value={choice.value}
            aria-describedby={`${id}-${choice.value}-hint`}
            aria-label={choice.label}
            className="mt-0.5 grid size-4 shrink-0 place-items-center rounded-full border border-line-strong bg-surface data-[state=checked]:border-accent"
          >
            <RadioGroup.Indicator className="size-2 rounded-full bg-accent" />
          </RadioGroup.Item>
          <span>
            <span className="block text-sm font-medium">{choice.label}</span>
            <span id={`${id}-${choice.value}-hint`} className="block text-xs text-ink-muted">
              {choice.hint}
            </span>
          </span>
        </label>
      ))}
    </RadioGroup.Root>
  )
}
