/**
 * What plain JavaScript gets wrong: each public function that takes options refuses unknown keys, and all refuse wrong
 * arguments in words. The list must name every function that the package exports.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { VggError } from '../src/errors.ts';
import * as core from '../src/index.ts';
import * as node from '../src/node.ts';
import * as tune from '../src/tune.ts';

const library = { ...core, ...node };
const wrong = { bogus: 1 } as never;
const none = undefined as never;
const {
  adam,
  adamw,
  muon,
  sgd,
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
  sequential,
  shapes,
  fromArrays,
} = library;
const data = fromArrays(new Uint8Array(8), [0, 1], [1, 2, 2]);
const loader = library.dataLoader(data, { batchSize: 2 });
const network = sequential([flatten(), linear(2)]);
const compiled = library.compile(network, { input: [1, 2, 2], device: 'reference' });
const folder = await mkdtemp(join(tmpdir(), 'vggnet-exports-'));
afterAll(() => rm(folder, { recursive: true }));
const study = tune.createStudy({ journal: join(folder, 'journal.log'), name: 'a', direction: 'minimize' });

/** Each function that takes options, with an unknown one. */
const takers: Readonly<Record<string, () => unknown>> = {
  adam: () => adam(wrong),
  adamw: () => adamw(wrong),
  muon: () => muon(wrong),
  sgd: () => sgd(wrong),
  adaptiveAvgPool2d: () => adaptiveAvgPool2d(wrong),
  avgPool2d: () => avgPool2d(wrong),
  batchNorm1d: () => batchNorm1d(wrong),
  batchNorm2d: () => batchNorm2d(wrong),
  conv2d: () => conv2d(wrong),
  dropout: () => dropout(wrong),
  flatten: () => flatten(wrong),
  linear: () => linear(wrong),
  localResponseNorm: () => localResponseNorm(wrong),
  maxPool2d: () => maxPool2d(wrong),
  relu: () => relu(wrong),
  sequential: () => sequential([], wrong),
  colorJitter: () => library.colorJitter(wrong),
  randomResizedCrop: () => library.randomResizedCrop(8, wrong),
  randomRotation: () => library.randomRotation(5, wrong),
  simplified: () => library.simplified(wrong),
  vgg7: () => library.vgg7(wrong),
  vggFeatures: () => library.vggFeatures([], [], wrong),
  createModel: () => library.createModel('vgg7', wrong),
  networkOf: () => library.networkOf('vgg7', wrong),
  vgg: () => library.vgg('vgg16', wrong),
  downloadWeights: () => library.downloadWeights('vgg16', wrong),
  examineWeights: () => library.examineWeights('a', wrong),
  cifar10: () => library.cifar10(wrong),
  cifar100: () => library.cifar100(wrong),
  imageFolder: () => library.imageFolder('a', wrong),
  imageTable: () => library.imageTable('a.csv', wrong),
  fromArrays: () => fromArrays(data.pixels, data.labels, data.shape, wrong),
  decodeImage: () => library.decodeImage(new Uint8Array(0), wrong),
  dataLoader: () => library.dataLoader(data, wrong),
  compile: () => library.compile(network, wrong),
  gradCam: async () => library.gradCam(await compiled, new Float32Array(4), wrong),
  featureImage: () => library.featureImage({ shape: [1, 1, 1, 1], data: new Float32Array(1) }, wrong),
  filterImage: () => library.filterImage({ shape: [1, 1, 1, 1], data: new Float32Array(1) }, wrong),
  saliency: async () => library.saliency(await compiled, new Float32Array(4), wrong),
  perceptualDistance: async () =>
    library.perceptualDistance(await compiled, new Float32Array(4), new Float32Array(4), wrong),
  'Model.inputGradient': async () =>
    (await compiled).inputGradient(new Float32Array(4), { classes: [0] }, wrong),
  'Model.predict': async () => (await compiled).predict(new Float32Array(4), wrong),
  labeledImageFiles: () => library.labeledImageFiles({ ...data, images: { sources: [] } }, wrong),
  evaluateProtocol: async () =>
    library.evaluateProtocol([await compiled], library.labeledImages(data), wrong),
  'Model.train': async () => (await compiled).train(loader, wrong),
  openModel: () => library.openModel('a', wrong),
  writeOnnx: async () =>
    library.writeOnnx({ ...(await compiled).info, weights: await (await compiled).weights() }, wrong),
  exportOnnx: async () => library.exportOnnx(await compiled, join(folder, 'a.onnx'), wrong),
  saveWeights: async () => library.saveWeights(await compiled, join(folder, 'a.safetensors'), wrong),
  fit: () => library.fit(wrong),
  trainer: () => library.trainer(wrong),
  findLearningRate: () => library.findLearningRate(wrong),
  lectureLines: () => library.lectureLines(wrong),
  parseConfig: () => library.parseConfig(wrong),
  runTraining: () => library.runTraining({} as never, wrong),
  trainSeeds: () => library.trainSeeds({}, wrong),
  prepareTraining: () => library.prepareTraining(wrong),
  recordRun: () => library.recordRun({} as never, wrong),
  captureEnvironment: () => library.captureEnvironment(wrong),
  reportRuns: () => library.reportRuns([], wrong),
  buildReport: () => library.buildReport([], wrong),
  writeReport: () => library.writeReport('a', [], wrong),
  float: () => tune.float(0, 1, wrong),
  int: () => tune.int(0, 1, wrong),
  searchSpace: () => tune.searchSpace({ a: tune.int(0, 1) }, wrong),
  parseSpace: () => tune.parseSpace(wrong),
  startHeartbeat: () => tune.startHeartbeat(folder, wrong),
  ashaPruner: () => tune.ashaPruner(wrong),
  medianPruner: () => tune.medianPruner(wrong),
  tpeSampler: () => tune.tpeSampler(wrong),
  createStudy: () => tune.createStudy(wrong),
  loadStudy: () => tune.loadStudy(wrong),
  'Study.ask': async () => (await study).ask(wrong),
  'Study.enqueue': async () => (await study).enqueue({}, wrong),
  'Study.optimize': async () => (await study).optimize(() => 0, wrong),
};

/** Those that take none. */
const others: readonly string[] = [
  'trainValidationSplit',
  'random',
  'shapes',
  'channelHistograms',
  'channelStatistics',
  'colorComponents',
  'colorShift',
  'grayscale',
  'randomGrayscale',
  'scaleJitter',
  'centerCrop',
  'compose',
  'cutout',
  'normalize',
  'pad',
  'randomCrop',
  'randomHorizontalFlip',
  'resize',
  'toTensor',
  'openerOf',
  'labeledImages',
  'heatPixels',
  'inferno',
  'featureLayers',
  'lastFeatureLayer',
  'gramGradient',
  'gramMatrices',
  'layerNames',
  'buildNetwork',
  'withInitialization',
  'readSafetensors',
  'writeSafetensors',
  'readCheckpoint',
  'writeCheckpoint',
  'createRun',
  'listRuns',
  'newRunFolder',
  'openRun',
  'readRun',
  'runsRoot',
  'fromCheckpoint',
  'readSnapshot',
  'toCheckpoint',
  'readMetrics',
  'camImage',
  'encodePng',
  'enlarged',
  'heatImage',
  'heatOverlay',
  'inputRaster',
  'openWeights',
  'loadWeights',
  'fitOptionsOf',
  'accuracyLine',
  'constantSchedule',
  'cosineSchedule',
  'multiStepSchedule',
  'oneCycleSchedule',
  'plateauSchedule',
  'stepSchedule',
  'withWarmup',
  'categorical',
  'exerciseSpace',
  'goneWorkers',
  'leftWorkers',
  'noPruner',
  'gridSampler',
  'randomSampler',
  'configOf',
];

const isClass = (value: unknown): boolean => /^class\b/.test(String(value));

test('every exported function is here', () => {
  const exported = Object.entries({ ...library, ...tune })
    .filter(([, value]) => typeof value === 'function' && !isClass(value))
    .map(([name]) => name);
  const listed = [...Object.keys(takers).filter((name) => !name.includes('.')), ...others];
  expect(exported.sort()).toEqual(listed.sort());
});

/** Each exported function without arguments, and with a wrong one; some have a valid first argument here. */
const wrongCalls = Object.entries<unknown>({ ...library, ...tune }).flatMap(([name, value]) => {
  if (typeof value !== 'function' || isClass(value)) return [];
  const call = value as (...values: readonly unknown[]) => unknown;
  const first: Readonly<Record<string, unknown>> = { createRun: 'x', newRunFolder: 'x', reportRuns: [] };
  const own = Object.hasOwn(first, name) ? [[first[name]]] : [];
  return [[], [{ bogus: 1 }], ...own].map((values): [string, () => unknown] => [
    `${name}(${values.map((argument) => JSON.stringify(argument))})`,
    () => call(...values),
  ]);
});

test.for(wrongCalls)('%s works, or says what is wrong', async ([, call]) => {
  // No data set is found, and nothing is written outside.
  vi.stubEnv('VGGNET_DATA', folder);
  vi.stubEnv('VGGNET_RUNS', folder);
  const error = await run(call).then(
    (value) => (value as Partial<Disposable> | undefined)?.[Symbol.dispose]?.(),
    (thrown: unknown) => thrown,
  );
  vi.unstubAllEnvs();
  if (error !== undefined) expect(error).toBeInstanceOf(VggError);
  // An internal error of the language would name a property.
  if (error !== undefined)
    expect((error as Error).message).not.toMatch(/Cannot (read|destructure)|is not iterable/);
});

const run = async (call: () => unknown): Promise<unknown> => call();

test.for(Object.entries(takers))('%s refuses unknown options', async ([, call]) => {
  await expect(run(call)).rejects.toThrow(VggError);
  await expect(run(call)).rejects.toThrow(/"bogus"/);
});

describe('wrong arguments are told in words', () => {
  test.for<[string, () => unknown, string]>([
    [
      'compile()',
      () => library.compile(none, none),
      'compile: the options are undefined, not an object such as',
    ],
    [
      'compile without a network',
      () => library.compile(none, { input: [1, 2, 2] }),
      'undefined is not a network',
    ],
    ['compile without input', () => library.compile(network, {} as never), 'the option input is missing'],
    [
      'compile on 10⁶ threads',
      () => library.compile(network, { input: [1, 2, 2], threads: 1e6 }),
      'limit of 256',
    ],
    [
      'compile for 10¹² images',
      () => library.compile(network, { input: [1, 2, 2], batchSize: 1e12 }),
      'the limit of',
    ],
    [
      'compile with classes',
      () => library.compile(network, { input: [1, 2, 2], classes: ['a'] }),
      'the network has 2 classes, not 1',
    ],
    [
      'compile with a deviation of 0',
      () => library.compile(network, { input: [1, 2, 2], normalization: { mean: [0], std: [0] } }),
      'deviations above 0',
    ],
    ['createModel()', () => library.createModel(none, none), 'createModel: name undefined is not one of'],
    ['sequential()', () => sequential(none), 'the layers are undefined, not a list'],
    ['dataLoader()', () => library.dataLoader(none, none), 'dataLoader: undefined is not a data set'],
    [
      'dataLoader of splits',
      () => library.dataLoader(shapes() as never, { batchSize: 1 }),
      'pass .train or .test',
    ],
    [
      'dataLoader with text',
      () => library.dataLoader(data, { batchSize: 1, transform: 'a' as never }),
      '"a" is not a transform',
    ],
    ['channelStatistics()', () => library.channelStatistics(none), 'undefined is not a data set'],
    ['trainValidationSplit()', () => library.trainValidationSplit(none, 0.1), 'undefined is not a data set'],
    ['fromArrays()', () => fromArrays(none, none, none), 'fromArrays: pixels is undefined'],
    ['adam(null)', () => adam(null as never), 'adam: the settings are null, not an object'],
    ['adam with one beta', () => adam({ betas: 0.9 as never }), 'betas = 0.9 is not a list of two numbers'],
    ['fit()', () => library.fit(none), 'fit: the options are undefined'],
    ['fit({})', () => library.fit({} as never), 'fit: the option model is missing'],
    [
      'parseConfig with a typing error',
      () => library.parseConfig({ epoch: 3 }),
      'config: there is no option "epoch"',
    ],
    ['parseConfig()', () => library.parseConfig(none), 'config: '],
    ['runTraining()', () => library.runTraining(none), 'runTraining: config: '],
    [
      'runTraining with 10¹² epochs',
      () => library.runTraining({ epochs: 1e12 } as never),
      'epochs: 1000000000000 is above the limit of 4294967295',
    ],
    ['pad(10⁹)', () => library.pad(1e9), 'pad: padding 1000000000 is above the limit of 10000'],
    ['cutout(10⁹)', () => library.cutout(1e9), 'cutout: size 1000000000 is above the limit'],
    ['randomCrop()', () => library.randomCrop(none), 'randomCrop: size undefined is not a whole number'],
    ['compose()', () => library.compose(none), 'compose: undefined is not a list of transforms'],
    ['readSafetensors()', () => library.readSafetensors(none), 'the bytes are not a Uint8Array'],
    ['reportRuns of text', () => library.reportRuns('runs/a' as never), '"runs/a" is not a list of runs'],
    [
      'createStudy with another direction',
      () => tune.createStudy({ journal: 'a', name: 'a', direction: 'max' as never }),
      'direction "max" is neither',
    ],
    ['categorical()', () => tune.categorical(none), 'categorical: undefined is not a list of choices'],
    ['searchSpace()', () => tune.searchSpace(none), 'searchSpace: undefined is not an object of parameters'],
    ['parseSpace with a typing error', () => tune.parseSpace({ epoch: 3 }), 'space: '],
    ['a heartbeat each 10⁹ seconds', () => tune.startHeartbeat(folder, { interval: 1e9 }), 'at most 2147483'],
  ])('%s', async ([, call, message]) => {
    await expect(run(call)).rejects.toThrow(VggError);
    await expect(run(call)).rejects.toThrow(message);
  });

  test('loaders and pads that are too large', async () => {
    const model = await compiled;
    await expect(model.train(none, { epoch: 1, optimizer: adam() })).rejects.toThrow(
      'undefined is not a loader',
    );
    await expect(model.evaluate(none)).rejects.toThrow('undefined is not a loader');
    const transform = library.compose([library.pad(9000), library.toTensor()]);
    const padded = library.dataLoader(data, { batchSize: 1, transform });
    await expect(padded[Symbol.asyncIterator]().next()).rejects.toThrow(/pad: images of 1×18002×18002/);
  });

  test('networks that no device can hold fail before anything is allocated', async () => {
    const huge = library.createModel('vgg7', { classes: 10, options: { channels: [1e6, 1e6], hidden: 1e6 } });
    for (const device of ['reference', 'wasm'] as const) {
      await expect(library.compile(huge, { input: [3, 32, 32], device })).rejects.toThrow(
        /GiB.* limit of .* GiB/s,
      );
    }
  });
});
