/** What the processor can do, as the operating system tells it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Lower-case names of the processor's features; empty where the system does not tell. */
export function processorFeatures(): ReadonlySet<string> {
  try {
    const text =
      process.platform === 'linux'
        ? (/^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '')
        : process.platform === 'darwin'
          ? execFileSync('sysctl', ['-n', 'machdep.cpu.features', 'machdep.cpu.leaf7_features'], {
              encoding: 'utf8',
              stdio: ['ignore', 'pipe', 'ignore'],
            })
          : '';
    return new Set(text.toLowerCase().split(/\s+/).filter(Boolean));
  } catch {
    return new Set();
  }
}
