/** For tests: a disk that is full soon. Mounting one needs Linux and the superuser. */
import { spawnSync } from 'node:child_process';

const mount = (size: string, folder: string): readonly string[] => [
  'mount',
  '-t',
  'tmpfs',
  '-o',
  `size=${size}`,
  'tmpfs',
  folder,
];

/** Tried in a mount space of its own, which ends with the probe. */
export const canMountSmallDisk: boolean =
  process.platform === 'linux' && spawnSync('unshare', ['--mount', ...mount('1m', '/mnt')]).status === 0;

/** Mounts `size` bytes (`2m`) on `folder`. Returns what unmounts it. */
export function mountSmallDisk(folder: string, size: string): () => void {
  const run = ([command, ...args]: readonly string[]): void => {
    const { status, stderr } = spawnSync(command!, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
  };
  run(mount(size, folder));
  return () => run(['umount', folder]);
}
