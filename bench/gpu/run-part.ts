/** Runs one part in this process: `node run-part.ts NAME OPTIONS`, with options as JSON. Prints a message per line. */
import { reason } from '../../src/reason.ts';
import type { Message, PartOptions } from './part.ts';
import { parts } from './parts.ts';

const [, , name = '', options = '{}'] = process.argv;
const send = (message: Message): void => void process.stdout.write(`${JSON.stringify(message)}\n`);
try {
  await parts[name]!.run(JSON.parse(options) as PartOptions, {
    cells: (row, cells) => send({ row, cells }),
    note: (note) => send({ note }),
  });
  // Sessions and child processes may still be open.
  process.stdout.write('', () => process.exit(0));
} catch (error) {
  send({ failure: reason(error) });
  process.stdout.write('', () => process.exit(1));
}
