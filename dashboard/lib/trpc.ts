'use client'

import type { AppRouter } from '@sendense/cloud/api/app-router.ts'
import { createTRPCContext } from '@trpc/tanstack-react-query'

/** `useTRPC()` gives typed query, mutation and subscription options of every procedure of the API. */
export const { TRPCProvider, useTRPC, useTRPCClient } = createTRPCContext<AppRouter>()

export type Api = ReturnType<typeof useTRPC>
export type ApiClient = ReturnType<typeof useTRPCClient>
