import { Command } from 'commander';
export function summaryCommand(..._: unknown[]): Command {
  return new Command('summary');
}
