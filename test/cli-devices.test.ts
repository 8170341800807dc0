/** The commands that look into the machine: `doctor`, `kernels`, and what `summary` knows of plans. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { revectorizedKernels } from '../src/engine/cpu/kernels/revectorize-node.ts';
import { kernelNames } from '../src/kernels/catalogue.ts';
import { noNative, targetsHere } from './native.ts';
import { jsonLines, quickVgg, vgg } from './run-vgg.ts';

/** Kernels that compute nothing: they move and compare. */
const movers = [
  'loadImage',
  'im2col',
  'maxPool',
  'maxPoolLarge',
  'reluBackward',
  'unpool2',
  'unpool4',
  'fill',
  'transpose',
];

describe('vgg doctor', () => {
  interface Report {
    readonly revectorized: object;
    readonly compiler: object;
    readonly auto: string;
    readonly devices: readonly {
      readonly device: string;
      readonly right: boolean;
      readonly peakGflops: number;
      readonly kernels: Readonly<
        Record<
          string,
          {
            readonly error: number;
            readonly checks: number;
            readonly gflops?: number;
            readonly share?: number;
          }
        >
      >;
    }[];
  }

  test('--json tells every kernel of every device that runs here', async () => {
    const { code, stdout } = await vgg(['doctor', '--json']);
    const report = JSON.parse(stdout) as Report;
    expect(code).toBe(0);
    const revectorized = 'source' in (await revectorizedKernels(false));
    expect(report.devices.map(({ device }) => device.replace(/ \((?!rev).*/, ''))).toEqual([
      ...(targetsHere.length > 0 ? ['native'] : []),
      ...(revectorized ? ['wasm (revectorized)'] : []),
      'wasm',
    ]);
    expect(report.auto).toBe(report.devices[0]!.device);
    for (const { kernels, right, peakGflops } of report.devices) {
      expect(right).toBe(true);
      expect(peakGflops).toBeGreaterThan(0);
      expect(Object.keys(kernels)).toEqual([...kernelNames]);
      for (const { error, checks } of Object.values(kernels)) {
        expect(error).toBeLessThan(2e-6);
        expect(checks).toBeGreaterThan(0);
      }
      const untimed = kernelNames.filter((name) => kernels[name]!.gflops === undefined);
      expect(untimed).toEqual(movers);
      expect(kernels.gemmNN!.gflops! / peakGflops).toBeCloseTo(kernels.gemmNN!.share!, 6);
    }
  });

  // What it says of a compiler that is missing: `test/signals.test.ts`. Of one that fails it says the same.
  test.skipIf(noNative !== undefined)(
    'native kernels that compute wrongly are said, and the exit code is 1',
    async () => {
      const scratch = mkdtempSync(join(tmpdir(), 'vggnet-doctor-'));
      onTestFinished(() => rmSync(scratch, { recursive: true, force: true }));
      // A compiler that is a shell script, and a cache of its own.
      const file = join(scratch, 'script-cc');
      const lines = [
        '#!/bin/sh',
        'case "$*" in *-E*) exec cc "$@";; esac',
        'for file; do case $file in',
        `  *.c) sed '/^void adam(.*{$/s/$/ return;/' "$file" > "$file.wrong" && mv "$file.wrong" "$file";;`,
        'esac; done',
        'exec cc "$@" -O1',
      ];
      writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o755 });
      const env = { VGGNET_CC: file, XDG_CACHE_HOME: join(scratch, 'cache'), VGGNET_REVECTORIZE: '0' };
      const { code, stdout } = await vgg(['doctor'], { env });
      expect(stdout).toMatch(/\nnative +WRONG: native kernels of .* failed their self-test: adam, /);
      expect(stdout).toContain('revectorized  off: turned off by VGGNET_REVECTORIZE');
      expect(stdout).toMatch(/\nwasm: all \d+ kernels right, peak \d+ GFLOP\/s on one core\n/);
      expect(stdout).toContain('--device auto uses wasm.');
      expect(code).toBe(1);
    },
  );
});

describe('vgg kernels', () => {
  test('--json tells names, parameters and code', async () => {
    const all = jsonLines(await quickVgg(['kernels', '--json']));
    expect(all.map(({ name }) => name)).toEqual(kernelNames);
    const [relu] = jsonLines(await quickVgg(['kernels', 'relu', '--wat', '--json']));
    expect(relu).toMatchObject({
      name: 'relu',
      form: 'wat',
      parameters: { out: 'pointer', threshold: 'f32' },
    });
    expect(relu!.code).toContain('(param $out i32)');
  });

  test('what prints code needs a kernel', async () => {
    const { code, stderr } = await quickVgg(['kernels', '--wat']);
    expect(code).toBe(2);
    expect(stderr).toContain('name the kernel');
  });

  test('--wat prints WebAssembly, --target C for other vectors', async () => {
    const wat = await quickVgg(['kernels', 'relu', '--wat']);
    expect(wat.stdout).toContain('(func $relu (export "relu")');
    const neon = await quickVgg(['kernels', 'relu', '--target', 'neon']);
    expect(neon.stdout).toContain('void relu(char *out, intptr_t outRow,');
    expect(neon.stdout).not.toContain('load8(');
    const wide = await quickVgg(['kernels', 'relu', '--c', '--target', 'avx512']);
    for (const lanes of [16, 8, 4]) expect(wide.stdout).toContain(`load${lanes}(`);
  });

  test('one form at a time', async () => {
    const { code, stderr } = await quickVgg(['kernels', 'relu', '--c', '--wat']);
    expect(code).toBe(2);
    expect(stderr).toContain("cannot be used with option '--wat'");
  });
});

describe('vgg summary', () => {
  test('--device without --profile would have no effect', async () => {
    const { code, stderr } = await quickVgg(['summary', 'simplified', '--plan', '--device', 'wasm']);
    expect(code).toBe(2);
    expect(stderr).toContain('add --profile');
  });

  test('--plan shows what was chosen for each layer', async () => {
    const { stdout, code } = await quickVgg(['summary', 'simplified', '--plan']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/conv1 1 +direct with ReLU +direct \(weights only\) +by image\n/);
    expect(stdout).toMatch(
      /conv2 3 4 +Winograd F\(4×4, 3×3\) with ReLU and pool +sparse \(pool winners only\) +\d+ tiles of 4×4\n/,
    );
    expect(stdout).not.toContain('share');
  });

  test('--profile adds shares that make up the whole step', async () => {
    const { stdout, code } = await vgg([
      ...['summary', 'simplified', '--profile', '--batch-size', '20', '--device', 'wasm', '--json'],
    ]);
    expect(code).toBe(0);
    const { plan } = JSON.parse(stdout) as {
      plan: {
        rows: readonly object[];
        profile: {
          rows: readonly { layers: string[]; share: number; gflops: number }[];
          rest: { milliseconds: number; share: number };
          kernels: string;
          lanes: number;
        };
      };
    };
    expect(plan.profile.rows).toHaveLength(plan.rows.length);
    const shares = plan.profile.rows.map(({ share }) => share);
    for (const share of shares) expect(share).toBeGreaterThan(0);
    expect(shares.reduce((sum, share) => sum + share, plan.profile.rest.share)).toBeCloseTo(1, 6);
    expect(plan.profile.rows[0]!.layers).toEqual(['conv1', '1']);
    expect([4, 8]).toContain(plan.profile.lanes);
    expect(plan.profile.kernels).toMatch(/^wasm/);
  });
});
