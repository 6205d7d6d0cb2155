const RUN_MS = 30
const REST_MS = 120

/**
 * Lets a process run only a fifth of the time (SIGSTOP, SIGCONT), so that what it does can be watched on a machine of any
 * speed. Disposing it lets the process run on.
 */
export function slowDown(pid: number): Disposable {
  let timer: NodeJS.Timeout
  const rest = (): void => {
    send(pid, 'SIGSTOP')
    timer = setTimeout(run, REST_MS)
  }
  const run = (): void => {
    send(pid, 'SIGCONT')
    timer = setTimeout(rest, RUN_MS)
  }
  rest()
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      send(pid, 'SIGCONT')
    },
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // It has ended meanwhile, which the test sees elsewhere.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
