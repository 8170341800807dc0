/** The parts of the benchmark, in the order in which they run: what matters most comes first. */
import { adapterPart } from './adapter.ts';
import { checkPart } from './check.ts';
import { dispatchPart } from './dispatch.ts';
import { epochPart } from './epoch.ts';
import type { Part } from './part.ts';
import { productsPart, uncheckedProductsPart } from './products.ts';
import { stepsPart } from './steps.ts';

export const parts: Readonly<Record<string, Part>> = {
  adapter: adapterPart,
  dispatch: dispatchPart,
  check: checkPart,
  steps: stepsPart,
  epoch: epochPart,
  products: productsPart,
  'products-unchecked': uncheckedProductsPart,
};
