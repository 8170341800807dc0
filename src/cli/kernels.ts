import { Command } from 'commander';
export function kernelsCommand(..._: unknown[]): Command {
  return new Command('kernels');
}
