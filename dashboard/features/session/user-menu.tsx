'use client'

import { useMutation, useQueryClient } from '@tanstack/react-query'
import { ChevronsUpDown, LogOut } from 'lucide-react'
import { useRouter } from 'next/navigation'
import { useState } from 'react'
import { applyTheme, currentTheme, parseTheme, themes, type Theme } from '../../lib/theme.ts'
import { useTRPC } from '../../lib/trpc.ts'
import {
  Menu,
  MenuContent,
  MenuItem,
  MenuLabel,
  MenuRadioGroup,
  MenuRadioItem,
  MenuSeparator,
  MenuTrigger,
} from '../../ui/menu.tsx'
import { toastError } from '../../ui/toast-error.ts'
import { useSession } from './session-context.ts'

const themeWord: { readonly [T in Theme]: string } = { system: 'As the system', light: 'Light', dark: 'Dark' }

export function UserMenu() {
  const session = useSession()
  const logOut = useLogOut()
  const [theme, setTheme] = useState<Theme>('system')
  const chooseTheme = (text: string) => {
    const chosen = parseTheme(text)
    setTheme(chosen)
    applyTheme(chosen)
  }
  return (
    <Menu onOpenChange={(open) => open && setTheme(currentTheme())}>
      <MenuTrigger
        aria-label={`Account of ${session.displayName}`}
        className="flex w-full items-center gap-2.5 rounded-lg p-2 text-left hover:bg-inset data-[state=open]:bg-inset"
      >
        <span
          aria-hidden
          className="grid size-7 shrink-0 place-items-center rounded-full bg-accent-soft text-xs font-semibold text-accent"
        >
          {initialsOf(session.displayName)}
        </span>
        <span className="min-w-0 flex-1">
          <span className="block truncate text-sm font-medium">{session.displayName}</span>
          <span className="block truncate text-xs text-ink-muted">{session.msp.name}</span>
        </span>
        <ChevronsUpDown aria-hidden className="size-4 shrink-0 text-ink-muted" />
      </MenuTrigger>
      <MenuContent side="top" align="start">
        <MenuLabel>
          {session.email} · {session.role}
        </MenuLabel>
        <MenuSeparator />
        <MenuLabel>Colours</MenuLabel>
        <MenuRadioGroup value={theme} onValueChange={chooseTheme}>
          {themes.map((name) => (
            <MenuRadioItem key={name} value={name}>
              {themeWord[name]}
            </MenuRadioItem>
          ))}
        </MenuRadioGroup>
        <MenuSeparator />
        <MenuItem onSelect={logOut}>
          <LogOut aria-hidden />
          Log out
        </MenuItem>
      </MenuContent>
    </Menu>
  )
}

function useLogOut(): () => void {
  const api = useTRPC()
  const router = useRouter()
  const queryClient = useQueryClient()
  const logOut = useMutation(
    api.session.logOut.mutationOptions({
      onSuccess: () => {
        router.replace('/login')
        queryClient.clear()
      },
      onError: toastError,
    }),
  )
  return () => logOut.mutate()
}

function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter((word) => word !== '')
  const letters = [words.at(0), words.length > 1 ? words.at(-1) : undefined].map((word) => word?.at(0) ?? '')
  return letters.join('').toUpperCase()
}
