/** Flat lists of instructions: kernel calls, and what the host computes between them. Addresses count floats. */
import { type KernelName, kernelParameters } from '../../../kernels/catalogue.ts';
import type { MapShape } from '../../map-shape.ts';
import type { BatchNormCall } from '../lower/batch-norm.ts';
import type { DropoutCall } from '../lower/dropout.ts';
import type { TapCall } from '../lower/taps.ts';

/** One instruction: a kernel and its arguments as the kernel takes them. */
export interface Call {
  readonly kernel: KernelName;
  readonly arguments: readonly number[];
  /** Index of the operation that it belongs to. */
  readonly operation: number | undefined;
}

/** Reads images of the batch into their maps. */
export interface LoadImagesCall {
  readonly host: 'loadImages';
  readonly first: number;
  readonly count: number;
  readonly map: number;
  readonly imageStride: number;
  readonly rowStride: number;
  readonly pixelStride: number;
  /** Of the images, without the halo. */
  readonly shape: MapShape;
}

/** Computes the loss of images from their logits, and its gradient. */
export interface LossCall {
  readonly host: 'loss';
  readonly first: number;
  readonly count: number;
  readonly logits: number;
  readonly logitStride: number;
  /** 0 without a backward pass. */
  readonly gradient: number;
  readonly gradientStride: number;
  /** `flattened` of the logits and of their gradient: one address per class. */
  readonly logitPlaces: Int32Array;
  readonly gradientPlaces: Int32Array;
}

export type HostCall = LoadImagesCall | LossCall | DropoutCall | BatchNormCall | TapCall;

export type Instruction = Call | HostCall;

/** Builds a list of instructions. Arguments are given by name. */
export class Code {
  readonly instructions: Instruction[] = [];
  #operation: number | undefined;

  /** Marks what `body` emits as part of this operation. */
  within(operation: number, body: () => void): void {
    this.#operation = operation;
    body();
    this.#operation = undefined;
  }

  call(kernel: KernelName, named: Readonly<Record<string, number>>): void {
    const parameters = kernelParameters[kernel];
    const names = Object.keys(parameters);
    const values = names.map((name) => {
      const value = named[name];
      if (value === undefined) throw new TypeError(`${kernel}: argument ${name} is missing`);
      return value;
    });
    for (const name in named)
      if (!(name in parameters)) throw new TypeError(`${kernel}: no argument ${name}`);
    this.instructions.push({ kernel, arguments: values, operation: this.#operation });
  }

  host(call: HostCall): void {
    this.instructions.push(call);
  }
}

/** What a piece of code emits. */
export type Emit = (code: Code) => void;

/** The instructions of several pieces. */
export function emit(...parts: readonly Emit[]): readonly Instruction[] {
  const code = new Code();
  for (const part of parts) part(code);
  return code.instructions;
}

/** Whether a ReLU's gradient still has to be applied to a written gradient, which passes where activations are above it. */
export const reluThreshold = (relu: boolean): number => (relu ? 0 : Number.NEGATIVE_INFINITY);
