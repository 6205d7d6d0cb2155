import { create } from 'zustand'

export type LiveStatus = 'connecting' | 'live' | 'interrupted'

/** Whether what is on the screen follows the control plane by itself. */
export const useLiveStatus = create<{ status: LiveStatus; setStatus: (status: LiveStatus) => void }>((set) => ({
  status: 'connecting',
  setStatus: (status) => set({ status }),
}))
