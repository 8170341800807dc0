/** The page: it starts a worker that trains, and shows what it reports. */
import type { Report } from './worker.ts';

const status = document.querySelector<HTMLElement>('#status')!;
const place = document.querySelector<HTMLElement>('#run')!;
const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });

worker.addEventListener('message', ({ data }: MessageEvent<Report>) => {
  status.textContent = data.text;
  if (!data.zip) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(data.zip);
  link.download = 'run.zip';
  link.textContent = 'Download the run';
  place.replaceChildren(link);
});
document.querySelector<HTMLInputElement>('#photos')!.addEventListener('change', ({ target }) => {
  // Files and their paths can be posted.
  worker.postMessage([...(target as HTMLInputElement).files!]);
});
