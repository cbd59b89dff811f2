import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The CommonJS half of some @jupyterlab dependencies has other default exports than the module half.
  resolve: { mainFields: ['module', 'main'] },
  test: {
    environment: 'jsdom',
    css: false,
    setupFiles: ['vitest.setup.ts'],
    include: ['src/**/*.spec.{ts,tsx}'],
    maxWorkers: 2,
    server: { deps: { inline: [/@jupyterlab\//, /@jupyter\//, /@lumino\//] } }
  }
});
