/**
 * The GPU: one device per process, shared by all sessions, with the pipelines that were compiled for it. It is opened
 * with the first session and kept, because compiling kernels takes longer than anything else.
 */
import { DeviceLostError, VggError } from '../../errors.ts';
import type { Dispatch } from './dispatch.ts';
import { type Memory, Scratch } from './memory.ts';
import { type TileTable, tileTables } from './tiles.ts';
import { type Kernel, moduleText, parsed, shapeWords } from './wgsl.ts';

// As WebGPU numbers them; Node has no global objects with these names.
export const bufferUsage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const;
const computeStage = 4;
const mapRead = 1;

/** A dispatch that can be encoded. */
export interface BoundDispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly groups: Dispatch['groups'];
  readonly operations: number;
}

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Limits that a device requests as large as the adapter has them. */
const wantedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxStorageBuffersPerShaderStage',
] as const;

export interface GpuOptions {
  /** Number in the list of `vgg doctor`, or a part of the name; by default $VGGNET_ADAPTER or the system's choice. */
  readonly adapter?: string | undefined;
  /** Whether kernels have the numbers of their shapes as constants; by default except on software adapters. */
  readonly constants?: boolean | undefined;
}

/** The least that kernels need, WebGPU's own defaults, and the words for them. */
const neededLimits = [
  ['maxStorageBuffersPerShaderStage', 8, 'buffers a kernel'],
  ['maxComputeInvocationsPerWorkgroup', 256, 'invocations a workgroup'],
  ['maxComputeWorkgroupSizeX', 256, 'invocations in a row of a workgroup'],
  ['maxComputeWorkgroupStorageSize', 16_384, 'bytes of workgroup memory'],
] as const;

/** What is too low of an adapter's limits, in words. */
export function lowLimit(limits: Readonly<Record<string, unknown>>): string | undefined {
  const low = neededLimits.find(([name, least]) => !((limits[name] as number) >= least));
  return low && `${limits[low[0]]} ${low[2]}, and at least ${low[1]} are needed`;
}

export class Gpu implements Memory {
  readonly device: GPUDevice;
  /** In words, as in `NVIDIA H200`. */
  readonly adapter: string;
  /** As the adapter names itself, and what it can. */
  readonly info: GPUAdapterInfo;
  readonly features: readonly string[];
  /** Whether the processor computes in place of a GPU. */
  readonly isSoftware: boolean;
  readonly #constants: boolean;
  /** Its table of tiles: the one that `vgg doctor --tune` stored, or that of its class. */
  readonly tiles: TileTable;
  /** The most bytes of a buffer. */
  readonly mostBytes: number;
  /** Observes the kernels that are used. */
  onKernel: ((kernel: Kernel) => void) | undefined;
  readonly #compiled = new Map<string, Promise<Compiled>>();
  readonly #uniforms = new Map<string, GPUBuffer>();
  /** Why the device cannot be used any more. */
  #loss: VggError | undefined;
  /** An error that nobody was told of. */
  #failure: VggError | undefined;

  constructor(
    device: GPUDevice,
    { info, features }: Pick<GPUAdapter, 'info' | 'features'>,
    {
      tiles,
      constants,
    }: { readonly tiles?: TileTable | undefined; readonly constants?: boolean | undefined } = {},
  ) {
    this.device = device;
    this.info = info;
    this.features = [...features].toSorted();
    this.adapter = describeAdapter(info);
    this.isSoftware = info.isFallbackAdapter ?? false;
    this.#constants = constants ?? !this.isSoftware;
    this.tiles = tiles ?? (this.isSoftware ? tileTables.software : tileTables.gpu);
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    this.mostBytes = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    device.lost.then(({ reason, message }) => {
      this.#loss = new DeviceLostError(
        reason === 'destroyed'
          ? 'the GPU device was closed'
          : `the GPU was lost (${firstLine(message) || reason}); a run continues from its last checkpoint with --resume`,
      );
    });
    device.addEventListener('uncapturederror', (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      this.#failure ??= new VggError(`the GPU reports an error: ${firstLine(error.message)}`);
    });
  }

  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /** @throws VggError if the device was lost, or reported an error. */
  assertWorks(): void {
    const error = this.#loss ?? this.#failure;
    this.#failure = undefined;
    if (error) throw error;
  }

  /** A buffer for kernels to use; its bytes are 0. */
  buffer(bytes: number, label: string): GPUBuffer {
    const { storage, copySource, copyTarget } = bufferUsage;
    return this.device.createBuffer({
      label,
      size: Math.max(16, Math.ceil(bytes / 16) * 16),
      usage: storage | copySource | copyTarget,
    });
  }

  /** Runs `allocate`, which makes buffers. @throws VggError if the device has not enough memory for them. */
  async allocating<T>(name: string, allocate: () => T | Promise<T>): Promise<T> {
    this.device.pushErrorScope('out-of-memory');
    this.device.pushErrorScope('validation');
    let made: T;
    let invalid: GPUError | null;
    let full: GPUError | null;
    try {
      made = await allocate();
    } finally {
      invalid = await this.device.popErrorScope();
      full = await this.device.popErrorScope();
    }
    const error = full ?? invalid;
    if (error) {
      throw new VggError(
        `${name}: ${this.adapter} cannot provide the memory that it needs (${firstLine(error.message)}); ` +
          'use a smaller batch or smaller images',
      );
    }
    return made;
  }

  /** Makes a dispatch ready to encode. */
  async bind(dispatch: Dispatch): Promise<BoundDispatch> {
    const { kernel, buffers, groups, operations, piece } = dispatch;
    this.onKernel?.(kernel);
    const { pipeline, layout } = await this.compile(kernel);
    const entries: GPUBindGroupEntry[] = [
      this.#uniform(Uint32Array.of(piece.count, piece.first)),
      ...buffers.map((own) => (own instanceof Scratch ? own.buffer : own)),
      ...(this.#constants ? [] : [this.#uniform(shapeWords(kernel.shape))]),
    ].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const group = this.device.createBindGroup({ layout, entries });
    return { pipeline, group, groups, operations };
  }

  /** The pipeline of a kernel, compiled once. */
  compile(kernel: Kernel): Promise<Compiled> {
    const code = moduleText(kernel, this.#constants);
    let compiled = this.#compiled.get(code);
    if (!compiled) {
      compiled = this.#compile(kernel, code);
      this.#compiled.set(code, compiled);
    }
    return compiled;
  }

  get pipelines(): number {
    return this.#compiled.size;
  }

  async #compile({ name, bindings }: Kernel, code: string): Promise<Compiled> {
    const types: GPUBufferBindingType[] = [
      'uniform',
      ...bindings.map((binding) => (parsed(binding).access === 'read' ? 'read-only-storage' : 'storage')),
      ...(this.#constants ? [] : (['uniform'] as const)),
    ];
    const { device } = this;
    const layout = device.createBindGroupLayout({
      entries: types.map((type, binding) => ({ binding, visibility: computeStage, buffer: { type } })),
    });
    const module = device.createShaderModule({ label: name, code });
    try {
      const pipeline = await device.createComputePipelineAsync({
        label: name,
        layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: 'main' },
      });
      return { pipeline, layout };
    } catch (error) {
      this.assertWorks();
      const { messages } = await module.getCompilationInfo();
      const [first] = messages;
      const place = first ? `line ${first.lineNum}: ${first.message}` : String((error as Error).message);
      throw new VggError(`${this.adapter} does not compile the kernel '${name}': ${place}`, { cause: error });
    }
  }

  /** A uniform with these words. */
  #uniform(words: Uint32Array<ArrayBuffer>): GPUBuffer {
    const key = words.join();
    let buffer = this.#uniforms.get(key);
    if (!buffer) {
      const { uniform, copyTarget } = bufferUsage;
      buffer = this.device.createBuffer({
        size: Math.ceil(words.byteLength / 16) * 16,
        usage: uniform | copyTarget,
      });
      this.device.queue.writeBuffer(buffer, 0, words);
      this.#uniforms.set(key, buffer);
    }
    return buffer;
  }

  /** Copies ranges of buffers to the host, one behind the other. What was submitted before is done then. */
  async read(
    ranges: readonly Range[],
    encoder: GPUCommandEncoder = this.device.createCommandEncoder(),
  ): Promise<ArrayBuffer> {
    const bytes = ranges.reduce((sum, range) => sum + range.bytes, 0);
    const target = this.device.createBuffer({
      size: Math.max(4, bytes),
      usage: bufferUsage.mapRead | bufferUsage.copyTarget,
    });
    let at = 0;
    for (const { buffer, offset, bytes: length } of ranges) {
      encoder.copyBufferToBuffer(buffer, offset, target, at, length);
      at += length;
    }
    this.device.queue.submit([encoder.finish()]);
    try {
      await target.mapAsync(mapRead);
    } catch (error) {
      // The reason arrives a moment later.
      await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
      this.assertWorks();
      throw new VggError(`the GPU did not return its results: ${firstLine((error as Error).message)}`);
    }
    const copy = target.getMappedRange().slice(0);
    target.destroy();
    this.assertWorks();
    return copy;
  }
}

/** Bytes of a buffer; multiples of four. */
export interface Range {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

const firstLine = (text: string): string => text.trim().split('\n')[0] ?? '';

/** Name and driver: bits are the same for one adapter and driver. Browsers say the vendor and the architecture. */
export function describeAdapter({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const name = device.replace(/-+$/, '') || [vendor, architecture].filter(Boolean).join(' ');
  return [name, description].filter(Boolean).join(', ') || 'a GPU of unknown name';
}

/** The limits that a device requests. */
export const largestLimits = ({ limits }: GPUAdapter): Record<string, number> =>
  Object.fromEntries(wantedLimits.map((name) => [name, limits[name]]));

/** By options. */
const opened = new Map<string, Promise<Gpu>>();

/** The process's device; a lost one is opened anew. @throws VggError if there is none. */
export async function openGpu({ adapter, constants }: GpuOptions = {}): Promise<Gpu> {
  const key = `${adapter} ${constants}`;
  const known = await opened.get(key)?.catch(() => undefined);
  if (known && !known.isLost) return known;
  const gpu = openDevice({ adapter, constants });
  opened.set(key, gpu);
  return gpu;
}

/** The entry to WebGPU: the browser's, or that of npm's package. What `vgg doctor` stored is known in Node alone. */
interface Entry {
  readonly gpu: GPU;
  readonly tilesOf?: (adapter: string) => TileTable | undefined;
}

async function entry(options: GpuOptions): Promise<Entry> {
  const own = globalThis.navigator as { readonly gpu?: GPU } | undefined;
  if (own?.gpu) return { gpu: own.gpu };
  if (typeof process !== 'object' || !process.versions?.node) {
    throw new VggError("this browser has no WebGPU; use a current one, or the device 'wasm'");
  }
  // A bundle for browsers has no such modules, but may run in Node.
  const node = (await import('./device-node.ts')) as Partial<typeof import('./device-node.ts')>;
  if (!node.openEntry) throw new VggError('this bundle was made for browsers, and this is Node');
  const { storedFor } = await import('./stored-node.ts');
  return { gpu: await node.openEntry(options.adapter), tilesOf: (adapter) => storedFor(adapter)?.tiles };
}

/** The adapter that a session would use. @throws VggError if there is none. */
export async function requestAdapter(
  options: GpuOptions,
): Promise<{ readonly adapter: GPUAdapter; readonly tilesOf: NonNullable<Entry['tilesOf']> }> {
  const { gpu, tilesOf = () => undefined } = await entry(options);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return { adapter, tilesOf };
  throw new VggError(
    'WebGPU finds no GPU: install the driver of the GPU (on Linux with Vulkan), or use another device; ' +
      "'npx vgg doctor' shows what was found",
  );
}

async function openDevice(options: GpuOptions): Promise<Gpu> {
  const { adapter, tilesOf } = await requestAdapter(options);
  const name = describeAdapter(adapter.info);
  const low = lowLimit(adapter.limits as unknown as Readonly<Record<string, unknown>>);
  if (low !== undefined) throw new VggError(`${name} allows ${low}; use another adapter or another device`);
  const requiredFeatures = timestamps.filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ requiredLimits: largestLimits(adapter), requiredFeatures });
  return new Gpu(device, adapter, { tiles: tilesOf(name), constants: options.constants });
}

/** To time kernels. */
const timestamps = ['timestamp-query'] as const;
