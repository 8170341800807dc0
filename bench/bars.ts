/** Performance targets (bars), and whether the medians of this run meet them. */

export interface Bar {
  readonly what: string;
  /** Undefined if it could not be measured because the device rejected the work: the bar is missed. */
  readonly value: number | undefined;
  readonly unit: '×' | ' MB' | ' s';
  /** The smallest value that meets the bar, … */
  readonly least?: number;
  /** … or the largest. */
  readonly most?: number;
}

/** Required speed relative to PyTorch, each with its fastest number of threads. */
export interface Bars {
  readonly step: Readonly<Record<'simplified' | 'vgg7' | 'vgg16-bn', number>>;
  /** For `vgg7`, by batch size. */
  readonly predict: Readonly<Record<number, number>>;
  readonly epoch: number;
  /** Speed of a `vgg7` step, counted as direct convolution, relative to the peak of its cores. */
  readonly peakShare?: number;
}

export const leastSpeed: Readonly<Record<'native' | 'wasm', Bars>> = {
  native: {
    step: { simplified: 4, vgg7: 2.5, 'vgg16-bn': 3 },
    predict: { 100: 3, 1: 2 },
    epoch: 10,
    peakShare: 1.5,
  },
  wasm: { step: { simplified: 2.5, vgg7: 1.1, 'vgg16-bn': 1.5 }, predict: {}, epoch: 7 },
};
export const leastTwoThreads = 1.8;
export const mostMegabytes = 700;
export const mostSecondsToStep = 1.5;

/** What a device must reach with VGG-16 at 224×224 in one kind of work, with two threads. */
export interface Vgg16Bars {
  /** The most resident memory of the whole process. */
  readonly megabytes?: number;
  /** The least speed relative to PyTorch, … */
  readonly torch?: number;
  /** … and to ONNX Runtime: for wasm, to its WebAssembly. */
  readonly onnxRuntime?: number;
  /** Whether the device may reject the work if it says what fits. */
  readonly mayReject?: true;
}

export const vgg16Bars: Readonly<
  Record<
    'predict 1' | 'predict 8' | 'step 8' | 'step 32' | 'fineTune 8',
    Readonly<Record<'native' | 'wasm', Vgg16Bars>>
  >
> = {
  'predict 1': {
    native: { megabytes: 850, torch: 2.7, onnxRuntime: 1.8 },
    wasm: { megabytes: 900, torch: 2, onnxRuntime: 4 },
  },
  'predict 8': {
    native: { megabytes: 1000, torch: 3.3, onnxRuntime: 2.5 },
    wasm: { megabytes: 1000, torch: 2.5 },
  },
  'step 8': {
    native: { megabytes: 2900, torch: 2.9 },
    wasm: { megabytes: 3000, torch: 2.3 },
  },
  'step 32': { native: { megabytes: 3900 }, wasm: { mayReject: true } },
  'fineTune 8': { native: { torch: 3.5 }, wasm: {} },
};

/** From the start of a program to its first prediction with VGG-16, and the planning in it. */
export const mostVgg16Seconds: Readonly<Record<'start' | 'planning', number>> = { start: 3, planning: 0.5 };

/** `vgg predict` on one JPEG with VGG-16's weights, from the command to its end. */
export const mostVgg16Command: Readonly<Record<'seconds' | 'megabytes', number>> = {
  seconds: 3,
  megabytes: 1000,
};

export function isMet({
  value,
  least = Number.NEGATIVE_INFINITY,
  most = Number.POSITIVE_INFINITY,
}: Bar): boolean {
  return value !== undefined && value >= least && value <= most;
}

export function formatBar(bar: Bar): string {
  const { what, value, unit, least, most } = bar;
  const number = (amount: number): string => `${amount.toFixed(unit === ' MB' ? 0 : 2)}${unit}`;
  const found = value === undefined ? 'rejected' : number(value);
  const limit = least === undefined ? `at most ${number(most!)}` : `at least ${number(least)}`;
  return `${isMet(bar) ? 'met   ' : 'missed'}  ${what.padEnd(54)}${found.padStart(9)}   ${limit}`;
}
