/** What to say where the system opens no more files: a shell that allows few of them is the usual reason. */

/** Without the files' names, which are not at fault. */
export const tooManyOpenFiles = 'too many open files; raise the limit (ulimit -n 1024)';

/** Whether a system's error, or one of Node's own around it, says so. */
export function isTooManyOpenFiles(error: unknown): boolean {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return /\b(EMFILE|ENFILE)\b|too many open files/.test(`${code} ${message}`);
}
