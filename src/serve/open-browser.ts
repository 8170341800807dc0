/** Opens a link in the user's browser (Node only). */
import { spawn } from 'node:child_process';
import { isMissing } from '../files/files.ts';
import { reason } from '../reason.ts';

/** A program that opens a URL, and its arguments before the URL; no shell sees any of them. */
export function openerFor(platform: NodeJS.Platform): readonly [program: string, ...before: string[]] {
  if (platform === 'darwin') return ['open'];
  // `start` is a command of the shell, to which the & of a URL means something.
  return platform === 'win32' ? ['rundll32', 'url.dll,FileProtocolHandler'] : ['xdg-open'];
}

/** Says it if there is no browser; the user can still open the link. */
export function openBrowser(
  link: string,
  onNotice: (line: string) => void,
  [program, ...before]: readonly [string, ...string[]] = openerFor(process.platform),
): void {
  const failed = (problem: string): void =>
    onNotice(`No browser could be opened (${program}: ${problem}); open the link yourself.`);
  try {
    const child = spawn(program, [...before, link], { stdio: 'ignore', detached: true, windowsHide: true });
    child.on('error', (error) => failed(isMissing(error) ? 'program not found' : reason(error)));
    child.on('exit', (code) => {
      if (code !== null && code !== 0) failed(`exit code ${code}`);
    });
    child.unref();
  } catch (error) {
    failed(reason(error));
  }
}
