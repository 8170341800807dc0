/** The service worker: offline use, and isolation on hosts that send no headers for it. */
import { type Signal, signal } from '@preact/signals';
import { session } from './session.ts';

/** A newer version of the page waits to take over. */
export const update: Signal<(() => void) | undefined> = signal<(() => void) | undefined>(undefined);

const triedKey = 'vgg-studio-isolated';

export function useServiceWorker(): void {
  // Only secure contexts have one. Without, the page works, on one thread and online.
  const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (!container) return;
  const first = container.controller === null;
  container.addEventListener('controllerchange', () => {
    if (first) isolate();
    else location.reload();
  });
  container.register('./sw.js').then(
    (registration) => {
      // Automated browsers may block it without an error.
      if (!(registration as ServiceWorkerRegistration | undefined)) return;
      const offer = (worker: ServiceWorker | null): void => {
        if (worker && container.controller) update.value = () => worker.postMessage('activate');
      };
      offer(registration.waiting);
      registration.addEventListener('updatefound', () => {
        const worker = registration.installing;
        worker?.addEventListener('statechange', () => {
          if (worker.state === 'installed') offer(worker);
        });
      });
    },
    // A host may forbid it; then the page is as it was without.
    () => undefined,
  );
}

/**
 * Loads the page once more, now with the worker's headers: only then do threads share memory. Not if the training has
 * begun meanwhile, and not twice.
 */
function isolate(): void {
  if (globalThis.crossOriginIsolated || session.last.value || session.phase.value === 'training') return;
  if (sessionStorage.getItem(triedKey)) return;
  sessionStorage.setItem(triedKey, 'yes');
  location.reload();
}
