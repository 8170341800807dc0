/**
 * The contestants' side of a measurement: a process that opens VGG-16 for one kind of work, does it once, and then as
 * often as asked. A process measures one thing, so that its peak memory belongs to it.
 */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

export interface JobOptions {
  /** `fineTune` is a step with frozen features. */
  readonly command: 'predict' | 'step' | 'fineTune';
  readonly batch: number;
  readonly threads: number;
  /** With the files of `files.ts`. */
  readonly folder: string;
}

/** Seconds of the parts of opening: from the process's start to the end of imports, … */
export interface Opening {
  readonly modules: number;
  /** … of compiling without loading, which includes most of the planning, … */
  readonly compile: number;
  /** … and of reading the weights and storing them. */
  readonly load: number;
}

export interface Job {
  /** For instance `native (AVX-512), 2 threads`, or a version. */
  readonly description: string;
  /** One step, or one forward pass: returns the logits [N, classes]. */
  run(): Promise<Float32Array | undefined>;
  readonly opening?: Opening;
}

/** A contestant's first line: what it is, after its work was done once, or why it cannot do it. */
export type Hello =
  | {
      readonly description: string;
      /** Of the first image. */
      readonly logits?: readonly number[];
      readonly opening?: Opening;
      /** Seconds. */
      readonly firstRun: number;
    }
  | { readonly rejected: string };

export const side = 224;

/** In the contestants' folder. */
export const fileNames = {
  /** 553 MB. */
  weights: 'vgg16.safetensors',
  /** The same weights. */
  onnx: 'vgg16.onnx',
  /** Bytes, [N, 3, 224, 224]. */
  pixels: 'pixels.bin',
  /** Little-endian uint16, [N]. */
  labels: 'labels.bin',
} as const;

/** Replies with `Hello`, then to `{ repetitions }` with the seconds of each, and to `{}` with its peak memory. */
export async function serveJob<T extends JobOptions>(
  open: (options: T) => Promise<Job>,
  isRejection: (error: unknown) => error is Error = (_): _ is Error => false,
): Promise<void> {
  const reply = (value: object): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);
  let job: Job;
  try {
    job = await open(JSON.parse(process.argv[2]!) as T);
    const opened = performance.now();
    const logits = await job.run();
    const firstRun = (performance.now() - opened) / 1000;
    const { description, opening } = job;
    reply({
      description,
      ...(logits && { logits: [...logits.subarray(0, 1000)] }),
      ...(opening && { opening }),
      firstRun,
    } satisfies Hello);
  } catch (error) {
    if (!isRejection(error)) throw error;
    reply({ rejected: error.message } satisfies Hello);
    process.exit();
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const { repetitions } = JSON.parse(line) as { readonly repetitions?: number };
    if (repetitions === undefined) {
      reply({ peak: await peakMemory() });
      continue;
    }
    const seconds = [];
    for (let i = 0; i < repetitions; i++) {
      const start = performance.now();
      await job.run();
      seconds.push((performance.now() - start) / 1000);
    }
    reply({ seconds });
  }
  process.exit();
}

/** Largest resident size in bytes; undefined where the system does not tell. (`maxRSS` would count the parent's, too.) */
async function peakMemory(): Promise<number | undefined> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
}
