/**
 * Starts workers: worker threads in Node, Web Workers in browsers. Nothing here imports from `node:`, and a bundle for
 * browsers leaves out the modules for Node (`browser` in package.json).
 */
import { isTooManyOpenFiles, tooManyOpenFiles, VggError } from '../../../errors.ts';
import { moduleFile } from '../../../package-files.ts';
import { inNode } from '../../../platform.ts';
import type { LoaderMessage } from '../../loading/worker.ts';
import type { EngineMemory } from '../kernels/memory.ts';
import { usualCacheBytes } from '../plan/cache-bytes.ts';
import type { WorkerMessage } from './worker.ts';

/** What workers send: those that compute, and those that load images. */
export type ThreadMessage = WorkerMessage | LoaderMessage;

export interface Thread {
  post(message: unknown): void;
  /** Sends the worker's messages to `listener`; a failure of the worker itself, even an earlier one, is `failed`. */
  listen(listener: (message: ThreadMessage) => void): void;
  /** Whether the worker keeps the process alive; true at first. */
  hold(busy: boolean): void;
  stop(): Promise<void>;
}

interface WebWorker {
  postMessage(message: unknown): void;
  terminate(): void;
  onmessage: (event: { data: ThreadMessage }) => void;
  onerror: (event: { message: string }) => void;
}

/** Bytes of a core's second-level cache, or a common size if unknown. */
export async function cacheSize(): Promise<number> {
  if (!inNode()) return usualCacheBytes;
  // A bundle for browsers has no such module, but may run in Node.
  const { secondLevelCache } = (await import('./processor-node.ts')) as Partial<
    typeof import('./processor-node.ts')
  >;
  return secondLevelCache?.() ?? usualCacheBytes;
}

/** Number of processors available to this process. */
export async function processorCount(): Promise<number> {
  if (inNode()) return process.getBuiltinModule('node:os').availableParallelism();
  return globalThis.navigator?.hardwareConcurrency ?? 1;
}

/** Requests huge pages for a session's memory, if the system supports them. */
export async function wishHugePages({ buffer }: EngineMemory): Promise<void> {
  if (inNode()) await (await import('../../../huge-pages-node.ts')).wishHugePages(new Uint8Array(buffer));
}

/** The program of a worker: a module of this package, or its text in a bundled program. */
export type WorkerProgram = { readonly file: URL } | { readonly text: string };

type Tell = (message: ThreadMessage) => void;
type Started = Omit<Thread, 'listen'>;

/** Seconds after which a silent worker has failed to start; it then runs another program. */
const patience = 10;

const wayOut = 'reinstall vggnet, or, if this program was bundled, declare vggnet external in the bundler';

const cannotStart = (reason: string): VggError => new VggError(`a worker cannot start: ${reason}`);

/** Says in one line why a worker does not start, and what to do. */
function startFailure(error: unknown): VggError {
  const { code, message } = error as { readonly code?: string; readonly message: string };
  if (isTooManyOpenFiles(error)) return cannotStart(`${tooManyOpenFiles} or use fewer threads`);
  if (code === 'ERR_WORKER_OUT_OF_MEMORY' || code === 'ERR_WORKER_INIT_FAILED')
    return cannotStart(`${message}; use fewer threads`);
  return cannotStart(`${message.split('\n')[0]}; ${wayOut}`);
}

async function workerProgram(): Promise<WorkerProgram> {
  const file = moduleFile('engine/cpu/run/worker-entry');
  const isMissing =
    file?.protocol === 'file:' && inNode() && !process.getBuiltinModule('node:fs').existsSync(file);
  if (file && !isMissing) return { file };
  const { workerText, workerFile } = await import('./worker-text.ts');
  if (workerFile !== undefined) return { file: workerFile };
  if (workerText !== undefined) return { text: workerText };
  throw startFailure(
    new Error(file ? `${file.pathname} is missing` : 'the bundle does not contain its program'),
  );
}

/**
 * Starts a worker.
 * @throws VggError if it does not start: it fails, ends, or stays silent for some seconds.
 */
export async function startThread(program?: WorkerProgram): Promise<Thread> {
  let listener: Tell | undefined;
  let failure: ThreadMessage | undefined;
  const { promise: started, resolve, reject } = Promise.withResolvers<void>();
  // If the constructor throws, nothing awaits it.
  started.catch(() => undefined);
  const tell: Tell = (message) => {
    if (message?.kind === 'started') resolve();
    if (message?.kind === 'failed') {
      failure ??= message;
      reject(startFailure(message));
    }
    listener?.(message);
  };
  let worker: Started;
  try {
    worker = await (inNode() ? startNodeWorker : startWebWorker)(program ?? (await workerProgram()), tell);
  } catch (error) {
    throw error instanceof VggError ? error : startFailure(error);
  }
  // Counts turns of the event loop, so that time spent busy or asleep does not count as waiting.
  let waited = 0;
  const timer = setInterval(() => {
    if (++waited === patience) reject(startFailure(new Error(`it did not answer within ${patience} s`)));
  }, 1000);
  try {
    await started;
  } catch (error) {
    await worker.stop();
    throw error;
  } finally {
    clearInterval(timer);
  }
  return {
    ...worker,
    listen(next) {
      listener = next;
      if (failure) next(failure);
    },
  };
}

async function startNodeWorker(program: WorkerProgram, tell: Tell): Promise<Started> {
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  const { getCompileCacheDir } = process.getBuiltinModule('node:module');
  // Workers share the program's compile cache, if it uses one, and then start in a third of the time.
  const cache = getCompileCacheDir();
  // A worker inherits the options of `node --input-type=module --eval …`, which a file does not allow.
  const evaluates = process.execArgv.some((option) => option.startsWith('--input-type'));
  const isText = 'text' in program;
  const worker = new Worker(isText ? program.text : program.file, {
    eval: isText,
    // Workers keep few objects; by default their garbage grows to 16 MB each.
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
    ...(evaluates && { execArgv: [] }),
    ...(cache !== undefined && { env: { ...process.env, NODE_COMPILE_CACHE: cache } }),
  });
  let stopping = false;
  worker.on('message', tell);
  worker.on('error', ({ code, message }: NodeJS.ErrnoException) =>
    tell({ kind: 'failed', message, ...(code !== undefined && { code }) }),
  );
  worker.on('exit', (code) => {
    if (!stopping) tell({ kind: 'failed', message: `it ended with code ${code}` });
  });
  return {
    post: (message) => worker.postMessage(message),
    hold: (busy) => void (busy ? worker.ref() : worker.unref()),
    async stop() {
      stopping = true;
      await worker.terminate();
    },
  };
}

/** Of a file of another site, which browsers do not start, a program that imports it. */
const importing = (file: URL): string | undefined =>
  file.origin === (globalThis as unknown as { location: { origin: string } }).location.origin
    ? undefined
    : `import ${JSON.stringify(file.href)};`;

async function startWebWorker(program: WorkerProgram, tell: Tell): Promise<Started> {
  const { Worker, URL, Blob } = globalThis as unknown as {
    readonly Worker: new (url: URL | string, options: { readonly type: 'module' }) => WebWorker;
    readonly URL: { createObjectURL(blob: object): string; revokeObjectURL(url: string): void };
    readonly Blob: new (parts: readonly string[], options: { readonly type: string }) => object;
  };
  const text = 'text' in program ? program.text : importing(program.file);
  const url =
    text === undefined
      ? (program as { readonly file: URL }).file
      : URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  const worker = new Worker(url, { type: 'module' });
  worker.onmessage = ({ data }) => {
    // The worker has loaded its program.
    if (typeof url === 'string') URL.revokeObjectURL(url);
    tell(data);
  };
  worker.onerror = ({ message }) => tell({ kind: 'failed', message: message || 'its program does not load' });
  return {
    post: (message) => worker.postMessage(message),
    hold: () => undefined,
    stop: async () => worker.terminate(),
  };
}
