'use client'

import { useEffect, useRef } from 'react'

/**
 * Keeps the keyboard's place in a list whose items go away when they are dealt with: the focus moves to what follows,
 * else to the list itself, instead of to the top of the page.
 */
export function useKeptFocus() {
  const listRef = useRef<HTMLUListElement>(null)
  const left = useRef<number | undefined>(undefined)
  useEffect(() => {
    const index = left.current
    const list = listRef.current
    if (index === undefined || list === null || document.activeElement !== document.body) return
    left.current = undefined
    const next = list.children.item(Math.min(index, list.children.length - 1))
    const target = next?.querySelector('button') ?? next?.querySelector('summary') ?? list
    target.focus()
  })
  return { listRef, keepFocusAfter: (index: number) => void (left.current = index) }
}
