/** The processor's features, as reported by the operating system. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Lower-case names of the processor's features; empty if unknown. */
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

/** Bytes of a core's second-level cache; undefined if unknown. */
export function secondLevelCache(): number | undefined {
  try {
    if (process.platform === 'darwin') {
      const bytes = Number(execFileSync('sysctl', ['-n', 'hw.l2cachesize'], { encoding: 'utf8' }));
      return bytes > 0 ? bytes : undefined;
    }
    const text = readFileSync('/sys/devices/system/cpu/cpu0/cache/index2/size', 'utf8').trim();
    const [, number, unit] = /^(\d+)([KM])$/.exec(text) ?? [];
    return number === undefined ? undefined : Number(number) * (unit === 'M' ? 1 << 20 : 1 << 10);
  } catch {
    return undefined;
  }
}
