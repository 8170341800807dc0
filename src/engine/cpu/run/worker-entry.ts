/** Entry of a worker, in Node and in browsers. */
import { inNode } from './threads.ts';
import { serve, type WorkerMessage } from './worker.ts';

type Answer = ReturnType<typeof serve>;
type Message = Parameters<Answer>[0];

if (inNode()) {
  const port = process.getBuiltinModule('node:worker_threads').parentPort;
  const answer = serve((message: WorkerMessage) => port?.postMessage(message));
  port?.on('message', answer);
} else {
  const scope = globalThis as unknown as {
    postMessage(message: unknown): void;
    onmessage: (event: { readonly data: Message }) => void;
  };
  const answer = serve((message: WorkerMessage) => scope.postMessage(message));
  scope.onmessage = (event) => void answer(event.data);
}
