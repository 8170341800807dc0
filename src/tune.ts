/** Hyperparameter search, in Node: `import { createStudy, … } from 'vggnet/tune'`. Only these exports are public. */

export { categorical, float, int, type Params, type ParamValue } from './tune/distributions.ts';
export { exerciseSpace } from './tune/exercise-space.ts';
export { goneWorkers, type Heartbeat, leftWorkers, startHeartbeat } from './tune/heartbeat.ts';
export type { Objective, OptimizeOptions } from './tune/optimize.ts';
export {
  type AshaPrunerOptions,
  ashaPruner,
  type MedianPrunerOptions,
  medianPruner,
  noPruner,
  type Pruner,
} from './tune/pruners.ts';
export type { Direction, TrialState } from './tune/records.ts';
export type { FrozenTrial } from './tune/replay.ts';
export { gridSampler } from './tune/samplers/grid.ts';
export { randomSampler } from './tune/samplers/random.ts';
export type { Sampler } from './tune/samplers/sampler.ts';
export { type TpeOptions, tpeSampler } from './tune/samplers/tpe.ts';
export { type SearchSpace, searchSpace } from './tune/search-space.ts';
export { configOf, parseSpace, type TuneSpace } from './tune/space.ts';
export {
  createStudy,
  loadStudy,
  type Study,
} from './tune/study.ts';
export type { LoadStudyOptions, StudyOptions } from './tune/study-options.ts';
export { type Trial, TrialPruned } from './tune/trial.ts';
