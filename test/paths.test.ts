/** What the library does with paths that name nothing. */
import { tmpdir } from 'node:os';
import { expect, test, vi } from 'vitest';
import { dataDirectory } from '../src/data/cache.ts';
import { UsageError } from '../src/errors.ts';
import * as core from '../src/index.ts';
import { openWeights, writeWeights } from '../src/model/weight-files.ts';
import * as node from '../src/node.ts';
import { parseSpace } from '../src/tune/space.ts';
import * as search from '../src/tune.ts';

const library = { ...core, ...node };
const network = library.buildNetwork(library.createModel('simplified', { classes: 10 }), [3, 32, 32]);
const config = library.parseConfig({}, 'test');

const calls: Readonly<Record<string, (path: string) => unknown>> = {
  cifar10: (data) => library.cifar10({ data }),
  cifar100: (data) => library.cifar100({ data }),
  createRun: (path) => library.createRun(path, config),
  openRun: library.openRun,
  readRun: library.readRun,
  listRuns: library.listRuns,
  newRunFolder: (path) => library.newRunFolder(path, config),
  runTraining: (folder) => library.runTraining(config, { folder }),
  'runTraining, resumed': (resume) => library.runTraining(config, { resume }),
  trainSeeds: (folder) => library.trainSeeds(config, { seeds: 1, folder }),
  'trainSeeds, resumed': (resume) => library.trainSeeds(config, { resume }),
  readMetrics: library.readMetrics,
  openModel: library.openModel,
  openWeights: (path) => openWeights(path, network),
  writeWeights: (path) => writeWeights(path, new Map()),
  reportRuns: (out) => library.reportRuns(['nowhere'], { out }),
  createStudy: (journal) => search.createStudy({ journal, name: 'a', direction: 'minimize' }),
  loadStudy: async (journal) => search.loadStudy({ journal, name: 'a' }),
  startHeartbeat: async (path) => search.startHeartbeat(path),
  'parseConfig, data': async (data) => library.parseConfig({ dataset: 'cifar10', data }, 'test'),
  'parseConfig, init': async (init) => library.parseConfig({ init }, 'test'),
  'parseSpace, init': async (init) => parseSpace({ init, lr: { float: [0.1, 1] } }, 'test'),
};

test.each(Object.entries(calls))('%s refuses an empty path', async (_, call) => {
  for (const path of ['', ' \n']) {
    await expect(Promise.resolve(path).then(call)).rejects.toThrow(UsageError);
    await expect(Promise.resolve(path).then(call)).rejects.toThrow(/is empty; name a file or folder/);
  }
});

test('an empty or blank variable counts as not set', () => {
  for (const value of ['', ' ']) {
    vi.stubEnv('VGGNET_RUNS', value);
    expect(library.runsRoot()).toBe('runs');
    expect(dataDirectory({ VGGNET_DATA: value, XDG_CACHE_HOME: tmpdir() })).toBe(`${tmpdir()}/vggnet`);
  }
  vi.unstubAllEnvs();
});
