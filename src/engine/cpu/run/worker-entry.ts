/** Entry of a worker, in Node and in browsers: it computes, or it loads images, by the messages that it gets. */
import { inNode } from '../../../platform.ts';
import type { LoaderRequest } from '../../loading/worker.ts';
import type { WorkerRequest } from './executor.ts';
import type { ThreadMessage } from './threads.ts';
import { serve, type WorkerStart } from './worker.ts';

type Message = WorkerStart | WorkerRequest | LoaderRequest;

function serveBoth(post: (message: ThreadMessage) => void): (message: Message) => void {
  const compute = serve(post);
  let loading: Promise<(request: LoaderRequest) => void> | undefined;
  return (message) => {
    if ('kind' in message) {
      loading ??= import('../../loading/worker.ts').then(({ serveLoading }) => serveLoading(post));
      void loading.then((load) => load(message));
    } else void compute(message);
  };
}

if (inNode()) {
  const port = process.getBuiltinModule('node:worker_threads').parentPort;
  const answer = serveBoth((message) => port?.postMessage(message));
  port?.on('message', answer);
} else {
  const scope = globalThis as unknown as {
    postMessage(message: unknown): void;
    onmessage: (event: { readonly data: Message }) => void;
  };
  const answer = serveBoth((message) => scope.postMessage(message));
  scope.onmessage = (event) => answer(event.data);
}
