/** Node's side of `browser.ts`: a process that times steps when it is asked. */
import { described, stepMilliseconds } from './browser-steps.ts';

process.on('message', ({ threads, steps }: { readonly threads: number; readonly steps: number }) => {
  void stepMilliseconds(threads, steps).then(async (value) => {
    process.send!({ value, description: await described() });
  });
});
