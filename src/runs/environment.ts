/** The environment of a run (Node only): versions, machine, command line, and the commit of the user's project. */
import { execFile } from 'node:child_process';
import { availableParallelism, cpus, hostname, release, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { checkOptions } from '../options.ts';
import { packageVersion } from '../version.ts';
import type { RunEnvironment } from './records.ts';

export interface EnvironmentOptions {
  /** The device: `native`, and in words `native (AVX-512), 2 threads`. */
  readonly device: string;
  readonly description: string;
  readonly threads: number;
  /** Now by default. */
  readonly started?: Date;
  /** The current folder by default; its git repository, if any, is the user's project. */
  readonly folder?: string;
  /** The command line of this process by default. */
  readonly command?: readonly string[];
}

export async function captureEnvironment(options: EnvironmentOptions): Promise<RunEnvironment> {
  checkOptions<EnvironmentOptions>('captureEnvironment', options, {
    device: 'required',
    description: 'required',
    threads: 'required',
    started: 'optional',
    folder: 'optional',
    command: 'optional',
  });
  const { device, description, threads, started = new Date() } = options;
  const { folder = process.cwd(), command = process.argv } = options;
  const git = await commitOf(folder);
  return {
    vggnet: packageVersion(),
    node: process.versions.node,
    v8: process.versions.v8,
    platform: `${process.platform} ${process.arch} (${release()})`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    hostname: hostname(),
    device,
    description,
    threads,
    ...(git && { git }),
    command,
    folder,
    started: started.toISOString(),
  };
}

/** Undefined outside a repository, without git, or if git does not answer in time. Untracked files do not count. */
async function commitOf(folder: string): Promise<RunEnvironment['git']> {
  const git = async (...args: string[]): Promise<string> => {
    // Write nothing into the repository, and run no program that it configures.
    const safe = ['-c', 'core.fsmonitor=false', '--no-optional-locks', '-C', folder];
    const { stdout } = await promisify(execFile)('git', [...safe, ...args], { timeout: 3000 });
    return stdout.trim();
  };
  try {
    const [commit, changes] = await Promise.all([
      git('rev-parse', '--verify', 'HEAD'),
      git('status', '--porcelain', '--untracked-files=no', '--ignore-submodules=dirty'),
    ]);
    return { commit, dirty: changes !== '' };
  } catch {
    return undefined;
  }
}
