// Headers that give pages shared memory, and so threads. The built page needs them from its own server.
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default {
  base: './',
  build: { target: 'esnext' },
  worker: { format: 'es' },
  server: { headers },
  preview: { headers },
};
