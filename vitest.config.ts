import { defineConfig, type ViteUserConfigExport } from 'vitest/config';

const config: ViteUserConfigExport = defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/native-setup.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
export default config;
