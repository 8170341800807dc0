/**
 * Encodes dispatches and submits them in parts of about 50 milliseconds: drivers reset a GPU that is busy for seconds, and
 * aborts and losses should not wait.
 */
import type { BoundDispatch, Gpu, Range } from './device.ts';

const wantedSeconds = 0.05;
/** Operations of a part before any was timed: short on any GPU. */
const firstOperations = { gpu: 2e10, software: 2e8 };

export class Submitter {
  readonly #gpu: Gpu;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** Operations encoded and not submitted; submitted since the last read. */
  #encoded = 0;
  #sent = 0;
  #most: number;
  readonly #isFixed: boolean;
  #lastRead = 0;

  /** With `fixed`, the operations of a part do not depend on time. */
  constructor(gpu: Gpu, fixed?: number) {
    this.#gpu = gpu;
    this.#isFixed = fixed !== undefined;
    this.#most = fixed ?? (gpu.isSoftware ? firstOperations.software : firstOperations.gpu);
  }

  /** Whether what was sent since the last read takes long enough. */
  get isFull(): boolean {
    return this.#encoded + this.#sent >= this.#most;
  }

  add(dispatches: readonly BoundDispatch[]): void {
    for (const { pipeline, group, groups, operations } of dispatches) {
      if (this.#encoded > 0 && this.#encoded + operations > this.#most) this.submit();
      this.#encoder ??= this.#gpu.device.createCommandEncoder();
      this.#pass ??= this.#encoder.beginComputePass();
      this.#pass.setPipeline(pipeline);
      this.#pass.setBindGroup(0, group);
      this.#pass.dispatchWorkgroups(...groups);
      // A dispatch takes a few microseconds, whatever it computes.
      this.#encoded += Math.max(operations, 1e6);
    }
  }

  /** Drops what was encoded and not submitted. */
  discard(): void {
    this.#pass?.end();
    this.#encoder?.finish();
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#encoded = 0;
  }

  submit(): void {
    if (!this.#encoder) return;
    this.#pass?.end();
    this.#gpu.device.queue.submit([this.#encoder.finish()]);
    this.#sent += this.#encoded;
    this.#encoded = 0;
    this.#encoder = undefined;
    this.#pass = undefined;
  }

  /** Submits, and reads ranges behind it. */
  async read(ranges: readonly Range[]): Promise<ArrayBuffer> {
    this.#pass?.end();
    const encoder = this.#encoder ?? this.#gpu.device.createCommandEncoder();
    this.#encoder = undefined;
    this.#pass = undefined;
    const operations = this.#sent + this.#encoded;
    this.#sent = 0;
    this.#encoded = 0;
    const start = performance.now();
    const bytes = await this.#gpu.read(ranges, encoder);
    const end = performance.now();
    // While another part runs, this one starts when that has ended.
    const seconds = (end - Math.max(start, this.#lastRead)) / 1000;
    this.#lastRead = end;
    if (!this.#isFixed && operations > 1e8 && seconds > 0) {
      const most = (operations / seconds) * wantedSeconds;
      // Half of the way, since timings are noisy.
      this.#most = Math.max(1e8, (this.#most + most) / 2);
    }
    return bytes;
  }
}
