/** From run folders to a report (Node only): reads the run, its images, and measures the time of each layer. */

import { join } from 'node:path';
import { inputShape } from '../data/facts.ts';
import { loadDataset } from '../data/load.ts';
import { type DeviceName, devices } from '../engine/backend.ts';
import { DataError, UsageError } from '../errors.ts';
import { refuseContradictions } from '../model/info.ts';
import type { Network } from '../model/layer.ts';
import { networkOf } from '../model/models.ts';
import { buildNetwork, sizeOf } from '../model/network.ts';
import { checkPath } from '../paths.ts';
import { lastGoodWeights } from '../runs/checkpoint-files.ts';
import { readRun, requireDifferent, runFiles } from '../runs/folder.ts';
import { readMetrics } from '../runs/table-files.ts';
import { writeReport } from './report.ts';
import type { ReportRun, ReportRunsOptions, TimeShare } from './run.ts';

/** Steps that are timed for each layer's share. */
const timedSteps = 10;

/** Values of an image from which on fewer images and steps are timed. */
const largeImage = 3 * 64 * 64;

/** Reads a run for a report. @throws DataError if the run has no tested weights yet or is damaged. */
export async function reportRun(
  folder: string,
  { data, splits: atHand, brief = false, onProgress = () => {} }: ReportRunsOptions = {},
): Promise<ReportRun> {
  const { name, config, env } = await readRun(folder);
  if (!env) throw new DataError(`${folder}: training never started, so there is nothing to report`);
  const { epochs, steps } = await readMetrics(join(folder, runFiles.metrics));
  if (epochs.length === 0) {
    throw new DataError(
      `${folder}: no epoch is finished yet, so there is nothing to report; try again after the first`,
    );
  }
  const best = await lastGoodWeights(folder, 'best', onProgress);
  if (!best)
    throw new DataError(`${folder}: its ${runFiles.best} is missing, so there are no weights to report on`);
  const { weights, info } = best;
  if (info) refuseContradictions(best.path, info, config, (option, value) => `the run's ${option} ${value}`);
  const splits =
    atHand ??
    (await loadDataset({ ...config, ...(data !== undefined && { data }) }, { onNotice: onProgress }));
  const input = inputShape(config, splits.test);
  const model = networkOf(config.model, {
    classes: splits.test.classes.length,
    options: config.modelOptions,
    input,
  });
  if (!brief) onProgress('timing the layers');
  const timeShares = brief
    ? undefined
    : await measureShares(buildNetwork(model, input), config.batchSize, env.device);
  return {
    name,
    config,
    environment: env,
    epochs,
    steps,
    weights,
    splits,
    ...(timeShares && { timeShares }),
  };
}

/**
 * Reports on runs. `out` defaults to the first run's `report.html`. Returns the path.
 * @throws UsageError if a run is named twice.
 */
export async function reportRuns(
  folders: readonly string[],
  { out, ...options }: ReportRunsOptions = {},
): Promise<string> {
  if (folders.length === 0) throw new UsageError('reportRuns: the list of runs is empty; name a run folder');
  requireDifferent(folders, 'report');
  if (out !== undefined) checkPath('reportRuns: out', out);
  const runs: ReportRun[] = [];
  for (const folder of folders) runs.push(await reportRun(folder, options));
  const path = out ?? join(folders[0]!, runFiles.report);
  await writeReport(path, runs, options);
  return path;
}

/** Each layer's share of a training step on one thread; none where no kernels of the processor computed. */
async function measureShares(
  network: Network,
  batchSize: number,
  device: string,
): Promise<readonly TimeShare[] | undefined> {
  const computes = Object.hasOwn(devices, device) ? devices[device as DeviceName] : undefined;
  if (computes !== 'kernels') return undefined;
  const [{ anyKernels, wasmKernels }, { profileLayers }, { aside }] = await Promise.all([
    import('../engine/cpu/kernels/provider.ts'),
    import('../engine/cpu/measure/profile.ts'),
    import('../aside-node.ts'),
  ]);
  const kernels = await (device === 'wasm' ? wasmKernels : anyKernels)(false, () => {});
  return (
    await aside('engine/cpu/measure/profile', profileLayers, network, kernels, {
      // A step on large images takes seconds, whose shares hardly depend on the batch.
      batchSize: sizeOf(network.input) > largeImage ? Math.min(batchSize, 8) : batchSize,
      steps: timedSteps,
      seconds: 10,
    })
  ).rows;
}
