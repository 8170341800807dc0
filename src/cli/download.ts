import { Command } from 'commander';
export function downloadCommand(..._: unknown[]): Command {
  return new Command('download');
}
