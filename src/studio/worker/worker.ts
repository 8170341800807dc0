/**
 * The worker of one training: receives the page's commands in order, and answers its questions. The rest is loaded by
 * `import`, because the engine's threads share its files, and must not start a training.
 */
import type { Command, Event } from './protocol.ts';

const scope = globalThis as unknown as {
  postMessage(message: Event, transfer: readonly ArrayBuffer[]): void;
  onmessage: (event: { readonly data: Command }) => void;
};

/** Commands that came before the program was loaded. */
const early: Command[] = [];
scope.onmessage = ({ data }) => early.push(data);

const { StudioTraining } = await import('./training.ts');
const training = new StudioTraining((event, transfer = []) => scope.postMessage(event, transfer));
scope.onmessage = ({ data }) => training.receive(data);
for (const command of early) training.receive(command);
