/**
 * What `browser.test.ts` runs in a page, and in a dedicated worker of that page: `tests` holds the functions, all of which take
 * and return plain data. Files pass as base64.
 */

import {
  exportRun,
  importRun,
  modelBlob,
  onnxBlob,
  openDataset,
  openModelBlob,
  openStore,
  type PathFile,
  resumeRun,
  type Store,
  trainRun,
  type UserDataset,
} from '../../src/browser.ts';
import type { TrainConfigInput } from '../../src/index.ts';

interface GivenFile {
  readonly path: string;
  readonly base64: string;
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

async function base64Of(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

const filesOf = (given: readonly GivenFile[]): PathFile[] =>
  given.map(({ path, base64 }) => ({ path, file: new Blob([bytesOf(base64)]) }));

let opened: Promise<Store> | undefined;
const store = (): Promise<Store> => {
  opened ??= openStore();
  return opened;
};

async function digestOf(blob: Blob | undefined): Promise<string> {
  if (!blob) return 'missing';
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Errors as text, because a test reads them. */
async function messageOf(step: () => Promise<unknown>): Promise<string> {
  try {
    await step();
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
  return 'no error';
}

interface RunRequest {
  readonly name: string;
  readonly config?: TrainConfigInput;
  readonly changes?: TrainConfigInput;
  /** Stops after so many steps of this call. */
  readonly stopAfter?: number;
  readonly files?: readonly GivenFile[];
}

/** Trains or resumes a run; says how it ended and on what it computed. */
async function run({ name, config, changes = {}, stopAfter, files }: RunRequest): Promise<unknown> {
  const controller = new AbortController();
  let [steps, description] = [0, ''];
  const notices: string[] = [];
  const dataset = files && (await openDataset(filesOf(files)));
  const options = {
    callbacks: [
      {
        step: () => {
          if (++steps === stopAfter) controller.abort();
        },
      },
    ],
    onStart: ({ model }: { readonly model: { readonly description: string } }) => {
      description = model.description;
    },
    onNotice: (line: string) => void notices.push(line),
    signal: controller.signal,
    ...(dataset && { dataset }),
  };
  const where = await store();
  try {
    const result = config
      ? await trainRun(config, { store: where, name, ...options })
      : await resumeRun(where, name, { ...options, changes });
    await result.training.model.close();
    return { reason: result.reason, steps, description, notices, testAccuracy: result.testAccuracy };
  } catch (error) {
    if (controller.signal.aborted && error === controller.signal.reason)
      return { reason: 'interrupted', steps, description, notices };
    throw error;
  }
}

const tests = {
  run,
  isolated: async () => crossOriginIsolated,
  export: async (name: string) => base64Of(await exportRun(await store(), name)),
  import: async (base64: string, name?: string) =>
    importRun(await store(), new File([bytesOf(base64)], 'given.zip'), name === undefined ? {} : { name }),
  digest: async (name: string, file: string) => digestOf(await (await store()).file(name, file)),
  record: async (name: string) => (await store()).run(name),
  runs: async () => (await store()).runs(),
  metrics: async (name: string) => (await store()).metrics(name),
  remove: async (name: string) => (await store()).removeRun(name),
  /** Runs two at once: only one may write. */
  twice: async (name: string) => {
    const first = run({ name });
    const second = await messageOf(() => run({ name }));
    return [await first, second];
  },
  /** The same for files of the page's input, which are posted as they are. */
  opened: async (files: readonly File[], options: { readonly md5?: Record<string, string> } = {}) =>
    described(() => openDataset(files, options)),
  /** Opens a data set, or says why it is none. */
  dataset: async (files: readonly GivenFile[], options: { readonly md5?: Record<string, string> } = {}) =>
    described(() => openDataset(filesOf(files), options)),
  keep: async (files: readonly GivenFile[], options: { readonly md5?: Record<string, string> } = {}) =>
    (await store()).addDataset(await openDataset(filesOf(files), options)),
  kept: async (name: UserDataset['dataset']) =>
    described(async () => (await (await store()).dataset(name)) ?? Promise.reject(new Error('missing'))),
  datasets: async () => (await store()).datasets(),
  /** The bytes of all images of a split, as they are prepared. */
  prepared: async (
    files: readonly GivenFile[],
    choice: { readonly size?: number; readonly crop?: string },
  ) => {
    const { train, test } = await (await openDataset(filesOf(files))).load(choice);
    return Promise.all(
      [train, test].map(async (split) => {
        if (!('images' in split)) throw new Error('not photos');
        const { bytes, sizes, checksums } = split.images;
        return {
          classes: split.classes,
          labels: [...split.labels],
          sizes: [...sizes],
          checksums: [...checksums!],
          digest: await digestOf(new Blob([Uint8Array.from(bytes!)])),
        };
      }),
    );
  },
  /** A model saved, opened again and exported. */
  weights: async (name: string) => {
    const file = await (await store()).file(name, 'best.safetensors');
    await using model = await openModelBlob(file!, { device: 'wasm', purpose: 'train' });
    const saved = await modelBlob(model);
    await using again = await openModelBlob(saved, { device: 'wasm', purpose: 'train' });
    const { data } = [...(await again.weights()).values()][0]!;
    const { data: first } = [...(await model.weights()).values()][0]!;
    return {
      same: data.every((value, i) => value === first[i]),
      classes: again.info.classes,
      onnx: await base64Of(await onnxBlob(model)),
    };
  },
  message: async (request: RunRequest) => messageOf(() => run(request)),
};

async function described(step: () => Promise<UserDataset>): Promise<unknown> {
  try {
    const { dataset, classes, images, notices } = await step();
    return { dataset, classes: classes.length > 20 ? classes.length : classes, images, notices };
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

// A worker answers messages; a page has the functions, and `inWorker`, which asks a worker.
const scope = globalThis as unknown as {
  readonly document?: unknown;
  tests?: unknown;
  onmessage: (event: { readonly data: { readonly name: string; readonly args: unknown[] } }) => void;
  postMessage(message: unknown): void;
};
async function answer(name: string, args: readonly unknown[]): Promise<unknown> {
  return (tests[name as keyof typeof tests] as (...given: unknown[]) => Promise<unknown>)(...args);
}
if (scope.document) {
  let worker: Worker | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const inWorker = (name: string, args: readonly unknown[]): Promise<unknown> => {
    worker ??= new Worker('page.js', { type: 'module' });
    const own = worker;
    last = last
      .catch(() => undefined)
      .then(
        () =>
          new Promise((resolve, reject) => {
            own.onmessage = ({ data }) =>
              'error' in data ? reject(new Error(data.error)) : resolve(data.value);
            own.onerror = ({ message }) => reject(new Error(message));
            own.postMessage({ name, args });
          }),
      );
    return last;
  };
  const input = Object.assign(document.createElement('input'), { type: 'file', multiple: true });
  document.body.append(input);
  const chosen = (options?: unknown): Promise<unknown> => inWorker('opened', [[...input.files!], options]);
  scope.tests = { inPage: answer, inWorker, chosen };
} else {
  scope.onmessage = ({ data: { name, args } }) => {
    answer(name, args).then(
      (value) => scope.postMessage({ value }),
      (error: Error) => scope.postMessage({ error: error.stack ?? error.message }),
    );
  };
}
