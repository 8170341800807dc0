/**
 * Prepares images on several threads (Node only). A bundled program has no file for workers; it prepares them on its own
 * thread, with the same bytes.
 */
import { getCompileCacheDir } from 'node:module';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { VggError } from '../../errors.ts';
import { loadSharp } from '../../images/sharp.ts';
import { moduleFile } from '../../package-files.ts';
import { reason } from '../../reason.ts';
import { openBudget, sharedBudget } from './memory-budget.ts';
import { openPreparer, type Prepared } from './prepare-image.ts';
import type { PrepareAnswer, PrepareRequest, PrepareSettings } from './prepare-worker.ts';

export interface PreparePool {
  /** So many images keep all threads busy. */
  readonly capacity: number;
  readonly prepare: (path: string) => Promise<Prepared>;
  readonly close: () => Promise<void>;
}

/** Images of a worker at a time: while one is resized, the next ones are read and decoded on threads of Node's. */
const atOnce = 3;
/** Bytes for decoding, for each thread: an image of 16 million pixels that sharp decodes. */
const threadBytes = 200e6;

interface Member {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve: (prepared: Prepared) => void; reject: (error: Error) => void }>;
}

/** Starts workers. `program` is theirs; undefined: none can be started. */
export function openPool(
  side: number,
  threads: number = availableParallelism(),
  program: URL | undefined = moduleFile('data/folders/prepare-worker'),
): PreparePool {
  keepSharp();
  const budget = sharedBudget(threads * threadBytes);
  if (program === undefined) {
    const prepare = openPreparer(side, openBudget(budget));
    return { capacity: atOnce, prepare, close: () => Promise.resolve() };
  }
  /** Why a worker ended. The others may wait for memory that it had. */
  let failure: Error | undefined;
  const fail = (error: Error): void => {
    failure ??= error;
    for (const { waiting } of members) {
      for (const { reject } of waiting.values()) reject(failure);
      waiting.clear();
    }
  };
  const members = Array.from({ length: threads }, () => startMember(program, { side, budget }, fail));
  let next = 0;
  return {
    capacity: atOnce * threads,
    prepare: (path) => {
      if (failure) return Promise.reject(failure);
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

/**
 * Loads sharp's library before workers load it, so that it stays loaded when they end. Where it is missing, only images
 * that need it fail.
 */
function keepSharp(): void {
  try {
    loadSharp();
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
  }
}

function startMember(program: URL, settings: PrepareSettings, fail: (error: Error) => void): Member {
  // Workers share the program's compile cache, if it uses one, and then start faster.
  const cache = getCompileCacheDir();
  const worker = new Worker(program, {
    workerData: settings,
    execArgv: [],
    ...(cache !== undefined && { env: { ...process.env, NODE_COMPILE_CACHE: cache } }),
  });
  const waiting: Member['waiting'] = new Map();
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
  return { worker, waiting };
}
