/*
 * The service worker. The build puts `version` and `files` before it: the built files, and a hash of them.
 *
 * It keeps exactly these files, so the studio works offline once it was opened. It also adds the headers that isolate the
 * page from other origins (COOP, COEP): browsers share memory between threads only in isolated pages, and hosts of static
 * files such as GitHub Pages cannot send headers of their own.
 */
const cacheName = `vgg-studio-${version}`;
const scope = new URL('./', self.location.href);
const known = new Set(files.map((file) => new URL(file, scope).href));
const page = new URL('index.html', scope).href;

const isolating = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

self.addEventListener('install', (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(cacheName);
      // Past the browser's own cache: files of an older version may have the same name.
      await cache.addAll([...known].map((url) => new Request(url, { cache: 'reload' })));
      // A first visit is controlled at once. Later versions wait until the page asks, since it may be training.
      if (!self.registration.active) await self.skipWaiting();
    })(),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith('vgg-studio-') && name !== cacheName) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener('message', ({ data }) => {
  if (data === 'activate') void self.skipWaiting();
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.hash = '';
  url.search = '';
  const file = url.href === scope.href ? page : url.href;
  if (request.method !== 'GET' || !known.has(file)) return;
  event.respondWith(
    (async () => {
      const response = (await (await caches.open(cacheName)).match(file)) ?? (await fetch(request));
      const headers = new Headers(response.headers);
      for (const [name, value] of Object.entries(isolating)) headers.set(name, value);
      return new Response(response.body, {
        status: response.status,
        statusText: response.statusText,
        headers,
      });
    })(),
  );
});
