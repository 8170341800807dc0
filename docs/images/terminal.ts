/**
 * Films `npm start` in a terminal: `node docs/images/terminal.ts` writes terminal.svg. The command runs for real, in
 * a pseudo-terminal (util-linux's `script`); of its output only what the bar uses is understood: text, \n, \r and
 * "erase line". The SVG shows the run at its own speed, stays on its end, and begins again; where nothing moves it
 * shows the end.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const command = 'npm start';
const columns = 112;
const lineHeight = 19;
const characterWidth = 7.83;
const margin = 18;
/** Seconds between two looks at the screen, and on the end. */
const interval = 0.25;
const rest = 5;

const eraseLine = '\x1b[2K';
const frames: { readonly at: number; readonly lines: readonly string[] }[] = [];

/** What is on the screen after so much output. */
const screen = (output: string): string[] =>
  `$ ${command}\n${output.replaceAll('\r', '')}`.split('\n').map((line) => line.split(eraseLine).at(-1)!);

await new Promise<void>((resolve, reject) => {
  const shell = `stty columns ${columns}; exec ${command}`;
  const child = spawn('script', ['--quiet', '--return', '--command', shell, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // Without npm's own lines and spinner.
    env: { ...process.env, npm_config_loglevel: 'silent', npm_config_progress: 'false' },
  });
  const begun = performance.now();
  let output = '';
  const look = (): void => {
    frames.push({ at: (performance.now() - begun) / 1000, lines: screen(output) });
  };
  look();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const timer = setInterval(look, 1000 * interval);
  child.on('error', reject);
  child.on('close', (code) => {
    clearInterval(timer);
    look();
    if (code === 0) resolve();
    else reject(new Error(`${command} ended with ${code}:\n${output}`));
  });
});

/** A text in a line, from one moment to another. */
interface Shown {
  readonly row: number;
  readonly text: string;
  readonly from: number;
  until: number;
}
const shown: Shown[] = [];
const end = frames.at(-1)!.at;
for (const { at, lines } of frames) {
  for (const [row, text] of lines.entries()) {
    const before = shown.findLast((entry) => entry.row === row);
    if (before?.text === text && before.until === Number.POSITIVE_INFINITY) continue;
    if (before) before.until = Math.min(before.until, at);
    if (text !== '') shown.push({ row, text, from: at, until: Number.POSITIVE_INFINITY });
  }
  for (const entry of shown) if (entry.row >= lines.length) entry.until = Math.min(entry.until, at);
}

const total = end + rest;
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const percent = (time: number): string => `${((100 * time) / total).toFixed(2)}%`;
const lasting = (entry: Shown): boolean => entry.until === Number.POSITIVE_INFINITY;
const styles = shown.map((entry, i) => {
  const begin = entry.from === 0 ? '' : `0%{opacity:0}${percent(entry.from)}{opacity:1}`;
  const finish = lasting(entry) ? '' : `${percent(entry.until)}{opacity:0}`;
  const moving = `#t${i}{animation:k${i} ${total.toFixed(2)}s step-end infinite}`;
  return (
    `#t${i}{opacity:${lasting(entry) ? 1 : 0}}@media(prefers-reduced-motion:no-preference){${moving}}` +
    `@keyframes k${i}{${begin || '0%{opacity:1}'}${finish}}`
  );
});
const texts = shown.map(
  ({ row, text }, i) =>
    `<text id="t${i}" x="${margin}" y="${margin + (row + 0.75) * lineHeight}"${row === 0 ? ' fill="#7ee787"' : ''}>${escaped(text)}</text>`,
);
const width = Math.ceil(Math.max(...shown.map(({ text }) => text.length)) * characterWidth + 2 * margin);
const height = Math.ceil((Math.max(...shown.map(({ row }) => row)) + 1) * lineHeight + 2 * margin);
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>${command}: a VGG network learns ten classes of images</title>
<style>text{font:13px/1 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
${styles.join('\n')}</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g fill="#e6edf3">
${texts.join('\n')}
</g>
</svg>
`;
writeFileSync(new URL('terminal.svg', import.meta.url), svg);
