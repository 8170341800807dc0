import { join } from 'node:path';
import { configDefaults, defineConfig, type ViteUserConfigExport } from 'vitest/config';
import type { InlineConfig } from 'vitest/node';

/** Tests beside their source that open devices on many networks, or compile kernels: they belong to `devices`. */
const deviceTests = ['src/engine/**/*.test.ts', 'src/kernels/**/*.test.ts'];

/** Tests in `test/` that compare devices with the reference or with PyTorch; all others there run whole programs. */
const crossDeviceTests = [
  'test/conformance/*.test.ts',
  'test/kernels.test.ts',
  'test/optimizers.test.ts',
  'test/freezing.test.ts',
  'test/family.test.ts',
  'test/vgg.test.ts',
  'test/webgpu.test.ts',
];

/** Compiles the native kernels once, before tests that use them start. */
const globalSetup = ['test/native-setup.ts'];

// Sessions start hundreds of workers. With a compile cache, as in `vgg`, they take half the time.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules', '.cache', 'vgg');

/** Files run on all cores: most tests are on one thread, or wait for a process. Each test may take so many minutes. */
const limits = (minutes: number): Pick<InlineConfig, 'maxWorkers' | 'testTimeout' | 'hookTimeout'> => ({
  maxWorkers: '100%',
  testTimeout: minutes * 60_000,
  hookTimeout: minutes * 60_000,
});

// Three projects: `npx vitest run --project unit` takes seconds, `devices` and `e2e` minutes.
const config: ViteUserConfigExport = defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...deviceTests],
          ...limits(1),
        },
      },
      {
        test: { name: 'devices', include: [...deviceTests, ...crossDeviceTests], globalSetup, ...limits(5) },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...crossDeviceTests],
          globalSetup,
          ...limits(5),
        },
      },
    ],
  },
});
export default config;
