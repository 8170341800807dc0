/** The worker of one training: receives the page's commands in order, and answers its questions. */
import type { Command, Event } from './protocol.ts';
import { StudioTraining } from './training.ts';

const scope = globalThis as unknown as {
  postMessage(message: Event, transfer: readonly ArrayBuffer[]): void;
  onmessage: (event: { readonly data: Command }) => void;
};

const training = new StudioTraining((event, transfer = []) => scope.postMessage(event, transfer));

scope.onmessage = ({ data }) => training.receive(data);
