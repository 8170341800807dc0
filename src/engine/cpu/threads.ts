/** Starts workers where the code runs: worker threads in Node, Web Workers in browsers. */
import { usualCacheBytes } from './operations.ts';
import type { WasmMemory } from './webassembly.ts';
import type { WorkerMessage } from './worker.ts';

export interface Thread {
  post(message: unknown): void;
  /** Called for each message of the worker; failures of the worker itself arrive as `failed`. */
  onMessage: (message: WorkerMessage) => void;
  stop(): Promise<void>;
}

interface WebWorker {
  postMessage(message: unknown): void;
  terminate(): void;
  onmessage: (event: { data: WorkerMessage }) => void;
  onerror: (event: { message: string }) => void;
}

/** Whether this is Node rather than a browser. */
export const inNode = (): boolean => typeof process === 'object' && Boolean(process.versions?.node);

/** Bytes of a core's second-level cache, or a usual number where nobody tells. */
export async function cacheSize(): Promise<number> {
  if (!inNode()) return usualCacheBytes;
  return (await import('./processor-node.ts')).secondLevelCache() ?? usualCacheBytes;
}

/** Number of processors that may be used. */
export async function processorCount(): Promise<number> {
  if (inNode()) return (await import('node:os')).availableParallelism();
  return globalThis.navigator?.hardwareConcurrency ?? 1;
}

/** Large pages behind a session's memory, where the system has them and can be told. */
export async function wishHugePages({ buffer }: WasmMemory): Promise<void> {
  if (inNode()) await (await import('../../huge-pages-node.ts')).wishHugePages(new Uint8Array(buffer));
}

export async function startThread(): Promise<Thread> {
  // The published package holds .js files, and nothing rewrites the name in a URL.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const thread: Thread = {
    post: () => {},
    onMessage: () => {},
    stop: async () => {},
  };
  const failed = (message: string): void => thread.onMessage({ kind: 'failed', message });
  if (inNode()) {
    const [{ Worker }, { getCompileCacheDir }] = await Promise.all([
      import('node:worker_threads'),
      import('node:module'),
    ]);
    // Workers take part in the compile cache where the program uses one: they start in a third of the time.
    const cache = getCompileCacheDir();
    // A worker inherits the options of `node --input-type=module --eval …`, but may not have them: it runs a file.
    const evaluates = process.execArgv.some((option) => option.startsWith('--input-type'));
    const worker = new Worker(new URL(`./worker-node.${extension}`, import.meta.url), {
      ...(evaluates && { execArgv: [] }),
      ...(cache !== undefined && { env: { ...process.env, NODE_COMPILE_CACHE: cache } }),
    });
    let stopping = false;
    worker.on('message', (message: WorkerMessage) => thread.onMessage(message));
    worker.on('error', (error: Error) => failed(error.stack ?? error.message));
    worker.on('exit', (code) => {
      if (!stopping) failed(`worker thread ended with code ${code}`);
    });
    thread.post = (message) => worker.postMessage(message);
    thread.stop = async () => {
      stopping = true;
      await worker.terminate();
    };
    return thread;
  }
  const { Worker } = globalThis as unknown as {
    Worker: new (url: URL, options: { type: 'module' }) => WebWorker;
  };
  const worker = new Worker(new URL(`./worker-web.${extension}`, import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }) => thread.onMessage(data);
  worker.onerror = ({ message }) => failed(message);
  thread.post = (message) => worker.postMessage(message);
  thread.stop = async () => worker.terminate();
  return thread;
}
