/** Entry of a worker in a browser. */
import { serve } from './worker.ts';

const scope = globalThis as unknown as {
  postMessage(message: unknown): void;
  onmessage: (event: { data: never }) => void;
};
const answer = serve((message) => scope.postMessage(message));
scope.onmessage = (event) => void answer(event.data);
