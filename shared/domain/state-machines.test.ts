import { describe, expect, test } from 'vitest'
import { canCommandMove, commandStates, commandTransitions, isFinalCommandState } from './command-state.ts'
import { canJobMove, isFinalJobState, jobStates, jobTransitions } from './job-state.ts'

const machines = [
  {
    name: 'job',
    states: jobStates as readonly string[],
    transitions: jobTransitions as Record<string, readonly string[]>,
    first: 'queued',
  },
  {
    name: 'command',
    states: commandStates as readonly string[],
    transitions: commandTransitions as Record<string, readonly string[]>,
    first: 'queued',
  },
]

describe.each(machines)('$name states', ({ states, transitions, first }) => {
  test('every state can be reached from the first and every one can end', () => {
    const reachable = closure(first, transitions)
    expect([...reachable].toSorted()).toEqual([...states].toSorted())
    for (const state of states) {
      expect([...closure(state, transitions)].some((to) => transitions[to]?.length === 0)).toBe(true)
    }
  })

  test('no state leads to itself', () => {
    for (const state of states) expect(transitions[state]).not.toContain(state)
  })
})

test('a job that ended stays ended', () => {
  const final = jobStates.filter(isFinalJobState)
  expect(final).toEqual(['succeeded', 'failed', 'cancelled'])
  for (const from of final) for (const to of jobStates) expect(canJobMove(from, to)).toBe(false)
})

test('a command that ended stays ended, and a late result after expiry still counts', () => {
  const final = commandStates.filter(isFinalCommandState)
  expect(final).toEqual(['succeeded', 'failed', 'rejected', 'cancelled'])
  for (const from of final) for (const to of commandStates) expect(canCommandMove(from, to)).toBe(false)
  expect(canCommandMove('expired', 'succeeded')).toBe(true)
  expect(canCommandMove('running', 'published')).toBe(false)
})

function closure(from: string, transitions: Record<string, readonly string[]>): Set<string> {
  const seen = new Set([from])
  const open = [from]
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const next of transitions[state] ?? []) {
      if (!seen.has(next)) open.push(next)
      seen.add(next)
    }
  }
  return seen
}
