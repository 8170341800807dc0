/**
 * What the tests of WebGPU run in a browser: in a page, `tests` holds the functions; a worker posts the trainings at once.
 * `webgpu-browser.test.ts` bundles it, with `plain-expect.ts` in place of vitest.
 */
import { openWebgpu } from '../src/engine/webgpu/driver.ts';
import { conformanceCases } from './cases.ts';
import { compareWithReference } from './compare.ts';
import { trainings } from './webgpu-trainings.ts';

/** Compares a case with the reference; returns its name. */
async function compare(index: number): Promise<string> {
  const { model, input, batch } = conformanceCases[index]!;
  await compareWithReference(openWebgpu, model, input, { batch });
  return model.name;
}

const scope = globalThis as unknown as {
  document?: unknown;
  tests?: { readonly trainings: typeof trainings; readonly compare: typeof compare };
  postMessage(message: unknown): void;
};
if (scope.document) scope.tests = { trainings, compare };
else scope.postMessage(await trainings().catch((error: Error) => error.stack));
