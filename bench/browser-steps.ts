/** What `browser.ts` times, in a page and in Node: steps of the lecture's network on one session. */
import { adam, compile, createModel, dataLoader, type Model, shapes } from '../src/index.ts';

const classes = 10;
let model: Promise<Model> | undefined;
const { train } = shapes();
const loader = dataLoader(train, { batchSize: 100, shuffle: true });

/** Milliseconds of a step, over `steps` steps of one pass. The first call opens the session and warms it up. */
export async function stepMilliseconds(threads: number, steps: number): Promise<number> {
  const isFirst = model === undefined;
  model ??= compile(createModel('simplified', { classes }), { input: train.shape, device: 'wasm', threads });
  const opened = await model;
  const run = (count: number): Promise<unknown> =>
    opened.train(loader, { epoch: 1, steps: count, optimizer: adam() });
  if (isFirst) await run(Math.min(50, steps));
  const start = performance.now();
  await run(steps);
  return (performance.now() - start) / steps;
}

/** The device in words. */
export const described = async (): Promise<string> => (await model!).description;

const scope = globalThis as unknown as { document?: unknown; steps?: object };
if (scope.document) scope.steps = { stepMilliseconds, described };
