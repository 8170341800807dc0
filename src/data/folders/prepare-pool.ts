/**
 * Prepares images on several threads (Node only). A bundled program has no file for workers; it prepares them on its own
 * thread, with the same bytes.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { reason, VggError } from '../../errors.ts';
import { loadSharp } from '../../images/sharp.ts';
import { moduleFile } from '../../package-files.ts';
import { openPreparer, type Prepared } from './prepare-image.ts';
import type { PrepareAnswer, PrepareRequest } from './prepare-worker.ts';

export interface PreparePool {
  /** So many images keep all threads busy. */
  readonly capacity: number;
  readonly prepare: (path: string) => Promise<Prepared>;
  readonly close: () => Promise<void>;
}

/** Images of a worker at a time: while one is resized, the next ones are read and decoded on threads of Node's. */
const atOnce = 3;

interface Member {
  readonly worker: Worker;
  /** Why it ended. */
  failure?: Error;
  readonly waiting: Map<number, { resolve: (prepared: Prepared) => void; reject: (error: Error) => void }>;
}

/** Starts workers. @throws VggError if sharp is missing. */
export function openPool(side: number, threads: number = availableParallelism()): PreparePool {
  // Its library must be loaded here before workers load it, so that it stays loaded when they end.
  loadSharp();
  const program = moduleFile('data/folders/prepare-worker');
  if (program === undefined) {
    return { capacity: atOnce, prepare: openPreparer(side), close: () => Promise.resolve() };
  }
  const members = Array.from({ length: threads }, () => startMember(program, side));
  let next = 0;
  return {
    capacity: atOnce * threads,
    prepare: (path) => {
      const ended = members.find(({ failure }) => failure);
      // It would never answer.
      if (ended) return Promise.reject(ended.failure!);
      const { worker, waiting } = members.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a));
      const { promise, resolve, reject } = Promise.withResolvers<Prepared>();
      const request: PrepareRequest = { id: next++, path };
      waiting.set(request.id, { resolve, reject });
      worker.postMessage(request);
      return promise;
    },
    close: async () => {
      await Promise.all(members.map(({ worker }) => worker.terminate()));
    },
  };
}

function startMember(program: URL, side: number): Member {
  const worker = new Worker(program, { workerData: { side }, execArgv: [] });
  const waiting: Member['waiting'] = new Map();
  const member: Member = { worker, waiting };
  const fail = (error: Error): void => {
    member.failure ??= error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on('message', (answer: PrepareAnswer) => {
    const request = waiting.get(answer.id);
    waiting.delete(answer.id);
    if ('prepared' in answer) request?.resolve(answer.prepared);
    else request?.reject(answer.isOurs ? new VggError(answer.message) : new Error(answer.message));
  });
  worker.on('error', (error) =>
    fail(
      new VggError(`a worker that prepares images failed: ${reason(error)}; try again with fewer threads`),
    ),
  );
  worker.on('exit', (code) =>
    fail(new VggError(`a worker that prepares images ended with code ${code}; try again`)),
  );
  return member;
}
