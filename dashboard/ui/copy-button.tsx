'use client'

import { Check, Copy } from 'lucide-react'
import { useState } from 'react'
import { Button } from './button.tsx'

/** Puts `text` into the clipboard. Where the browser refuses, it says so and the text stays selectable. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [outcome, setOutcome] = useState<'none' | 'copied' | 'refused'>('none')
  const copy = () => {
    copyText(text).then(
      () => setOutcome('copied'),
      () => setOutcome('refused'),
    )
  }
  return (
    <Button size="sm" onClick={copy} aria-label={label}>
      {outcome === 'copied' ? <Check aria-hidden /> : <Copy aria-hidden />}
      <span aria-live="polite">
        {outcome === 'none' ? 'Copy' : outcome === 'copied' ? 'Copied' : 'Select and copy'}
      </span>
    </Button>
  )
}

/** Rejects where there is no clipboard: on plain http browsers hide it. */
async function copyText(text: string): Promise<void> {
  await navigator.clipboard.writeText(text)
}
