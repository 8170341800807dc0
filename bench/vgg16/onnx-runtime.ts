/** ONNX Runtime's side of the VGG-16 benchmark: `onnxruntime-node`, or `onnxruntime-web` with its WebAssembly. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fileNames, type JobOptions, serveJob, side } from './job.ts';

/** The part of its interface that is used here; the packages are optional, so their types are not available. */
interface OnnxRuntime {
  readonly env: {
    readonly versions: Readonly<Record<string, string | undefined>>;
    readonly wasm: { numThreads?: number };
  };
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => object;
  readonly InferenceSession: {
    create(
      model: string | Uint8Array,
      options: object,
    ): Promise<{
      run(feeds: Record<string, object>): Promise<Record<string, { readonly data: Float32Array }>>;
    }>;
  };
}

await serveJob(async (options: JobOptions & { readonly package: 'onnxruntime-node' | 'onnxruntime-web' }) => {
  const { batch, threads, folder } = options;
  const { resolve } = createRequire(import.meta.url);
  const module = (await import(pathToFileURL(resolve(options.package)).href)) as OnnxRuntime & {
    default?: OnnxRuntime;
  };
  const { env, Tensor, InferenceSession } = module.default ?? module;
  const path = join(folder, fileNames.onnx);
  const web = options.package === 'onnxruntime-web';
  if (web) env.wasm.numThreads = threads;
  const session = web
    ? await InferenceSession.create(path, { executionProviders: ['wasm'] })
    : await InferenceSession.create(path, { intraOpNumThreads: threads });
  const pixels = (await readFile(join(folder, fileNames.pixels))).subarray(0, batch * 3 * side * side);
  const images = new Tensor(
    'float32',
    Float32Array.from(pixels, (pixel) => pixel / 255),
    [batch, 3, side, side],
  );
  const version = env.versions[web ? 'web' : 'node'] ?? env.versions.common;
  return {
    description: `${options.package} ${version}`,
    run: async () => (await session.run({ images })).logits!.data,
  };
});
