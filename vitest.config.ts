import { configDefaults, defineConfig, type ViteUserConfigExport } from 'vitest/config';

/** Tests beside their source that open devices on many networks, or compile kernels: they belong to `devices`. */
const deviceTests = ['src/engine/**/*.test.ts', 'src/kernels/**/*.test.ts'];

/** Tests in `test/` that compare devices with the reference or with PyTorch; all others there run whole programs. */
const crossDeviceTests = [
  'test/conformance.test.ts',
  'test/kernels.test.ts',
  'test/optimizers.test.ts',
  'test/vgg.test.ts',
];

/** Compiles the native kernels once, before tests that use them start. */
const globalSetup = ['test/native-setup.ts'];

const minutes = (count: number): { testTimeout: number; hookTimeout: number } => ({
  testTimeout: count * 60_000,
  hookTimeout: count * 60_000,
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
          ...minutes(1),
        },
      },
      {
        test: { name: 'devices', include: [...deviceTests, ...crossDeviceTests], globalSetup, ...minutes(5) },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...crossDeviceTests],
          globalSetup,
          ...minutes(5),
        },
      },
    ],
  },
});
export default config;
