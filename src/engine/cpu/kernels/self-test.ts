/** Tests kernels at start-up: a few of each kernel's checks, at lengths that need every vector width. */
import { type KernelName, kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import { checksOf } from '../../../kernels/checks/all.ts';
import {
  argumentsOf,
  checkFloats,
  type KernelCheck,
  prepareCheck,
  runCheck,
  viewsOf,
} from '../../../kernels/checks/check.ts';
import type { KernelLibrary } from './library.ts';
import { type WasmMemory, webAssembly } from './webassembly.ts';

/** A memory for checks. */
export const checkMemory = (shared: boolean): WasmMemory =>
  new webAssembly.Memory({ initial: (4 * checkFloats) / 65_536, maximum: 65_536, shared });

/** The first check of a kernel, the last, and two between. */
function someChecks(name: KernelName, lanes: number): readonly KernelCheck[] {
  const checks = checksOf(name, lanes);
  const last = checks.length - 1;
  return [...new Set([0, 1 / 3, 2 / 3, 1].map((part) => Math.round(part * last)))].map((i) => checks[i]!);
}

/** Compares with plain float64 loops. Returns what is wrong, if anything. */
export function testAgainstPlain(
  library: KernelLibrary,
  memory: WasmMemory,
  lanes: number,
): string | undefined {
  const views = viewsOf(memory.buffer);
  for (const name of kernelNames) {
    for (const check of someChecks(name, lanes)) {
      const run = (values: readonly number[]): void => library.call(name, values);
      const { complaint } = runCheck(check, kernelParameters[name], views, lanes, run);
      if (complaint !== undefined) return `${name}, ${complaint}`;
    }
  }
  return undefined;
}

/** Compares two libraries with separate memories bit by bit. Returns what is wrong, if anything. */
export function testAgainstEachOther(
  first: readonly [library: KernelLibrary, memory: WasmMemory],
  second: readonly [library: KernelLibrary, memory: WasmMemory],
  lanes: number,
): string | undefined {
  for (const name of kernelNames) {
    for (const check of someChecks(name, lanes)) {
      const values = argumentsOf(check, kernelParameters[name]);
      const [left, right] = [first, second].map(([library, memory]) => {
        const views = viewsOf(memory.buffer);
        prepareCheck(check, views);
        library.call(name, values);
        return views.words;
      });
      for (let at = 0; at < checkFloats; at++) {
        if (left![at] !== right![at]) return `${name}, ${check.title}: place ${at} differs`;
      }
    }
  }
  return undefined;
}
