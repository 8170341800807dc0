/** The few WebAssembly types that the engine needs; TypeScript ships them only together with the DOM. */

export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** Adds pages of 64 KiB. */
  grow(pages: number): number;
}

/** A compiled module; it can be sent to workers. */
export type WasmModule = object & { readonly __wasmModule?: never };

interface WebAssemblyApi {
  readonly Memory: new (options: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { readonly env?: { readonly memory: WasmMemory } },
  ) => { readonly exports: Readonly<Record<string, unknown>> };
}

export const webAssembly: WebAssemblyApi = (globalThis as unknown as { WebAssembly: WebAssemblyApi })
  .WebAssembly;

/** A module of one function: it returns a · a − (1 + 2⁻¹¹) with a = 1 + 2⁻¹² in every lane. */
// biome-ignore format: a section, an instruction a line
const multiplyAddModule = Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x06, 0x01, 0x60, 0x01, 0x7d, 0x01, 0x7d,
  0x03, 0x02, 0x01, 0x00,
  0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00,
  0x0a, 0x19, 0x01, 0x17, 0x00,
  0x20, 0x00, 0xfd, 0x13,
  0x20, 0x00, 0xfd, 0x13,
  0x43, 0x00, 0x10, 0x80, 0xbf, 0xfd, 0x13,
  0xfd, 0x85, 0x02,
  0xfd, 0x1f, 0x00,
  0x0b,
);

/** Whether the engine has relaxed SIMD's multiply-adds and the processor rounds them once. */
export function hasFusedMultiplyAdds(): boolean {
  if (!webAssembly.validate(multiplyAddModule)) return false;
  const { exports } = new webAssembly.Instance(new webAssembly.Module(multiplyAddModule), {});
  return (exports.f as (a: number) => number)(1 + 2 ** -12) === 2 ** -24;
}
