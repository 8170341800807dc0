/** A process that plans the prediction of one image with VGG-16, as a session and each of its workers do, and prints the seconds. */
import { evaluationBatchOf } from '../../src/engine/cpu/plan/memory-use.ts';
import { planOperations } from '../../src/engine/cpu/plan/operations.ts';
import { ParameterLayout } from '../../src/engine/cpu/plan/parameters.ts';
import { compilePlan } from '../../src/engine/cpu/plan/plan.ts';
import { cacheSize } from '../../src/engine/cpu/run/threads.ts';
import { vgg16Network } from './files.ts';

const cache = await cacheSize();
const start = performance.now();
const layout = new ParameterLayout(planOperations(vgg16Network(), cache), 1, Number(process.argv[2]));
evaluationBatchOf(layout);
compilePlan(layout, { batch: 1, mode: 'evaluate' }, 0);
console.log(JSON.stringify((performance.now() - start) / 1000));
