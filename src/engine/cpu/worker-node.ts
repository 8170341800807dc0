/** Entry of a worker thread in Node. */
import { parentPort } from 'node:worker_threads';
import { serve } from './worker.ts';

const port = parentPort;
if (port)
  port.on(
    'message',
    serve((message) => port.postMessage(message)),
  );
