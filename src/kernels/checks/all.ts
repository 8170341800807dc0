/** The checks of every kernel. Tests and `vgg doctor` run all of them, a device's self-test at start-up only a few. */
import type { KernelName } from '../catalogue.ts';
import type { KernelCheck } from './check.ts';
import * as direct from './direct.ts';
import * as gemm from './gemm.ts';
import * as localResponse from './local-response.ts';
import * as maps from './maps.ts';
import * as normalization from './normalization.ts';
import * as optimizer from './optimizer.ts';
import * as pooling from './pooling.ts';
import * as sparse from './sparse.ts';
import { winogradChecks } from './winograd.ts';

const kernelChecks: Readonly<Record<KernelName, readonly KernelCheck[]>> = {
  ...direct,
  ...gemm,
  ...localResponse,
  ...maps,
  ...normalization,
  ...optimizer,
  ...pooling,
  ...sparse,
  ...winogradChecks,
};

/** The checks of a kernel whose widest vectors have `lanes` floats. */
export const checksOf = (name: KernelName, lanes: number): readonly KernelCheck[] =>
  kernelChecks[name].filter(({ mostLanes = lanes }) => lanes <= mostLanes);
