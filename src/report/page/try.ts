/** "Try the network": classifies and explains a sample or a user's image, all in the page. */
import { heatPixels } from '../../explain/colors.ts';
import type { HeatMap } from '../../explain/explain.ts';
import { argmax, topClasses } from '../../model/loss.ts';
import { percent } from '../../words.ts';
import { type PageData, weightsId } from '../page-data.ts';
import { byId, make } from './dom.ts';
import { type Answer, type Classifier, openClassifier } from './network.ts';
import { planarBytes, squarePixels } from './pixels.ts';

export function startTry(data: PageData): void {
  const section = byId('try-panel', HTMLElement);
  const input = byId('try-file', HTMLInputElement);
  const status = byId('try-status', HTMLElement);
  if (!section || !input || !status) return;
  let opening: Promise<Classifier> | undefined;
  let turn = 0;

  const classify = async (
    name: string,
    open: () => Promise<ImageBitmap | HTMLImageElement>,
  ): Promise<void> => {
    const mine = ++turn;
    try {
      status.textContent = opening ? `Classifying ${name} …` : 'Starting the network …';
      // The browser paints the status before this thread is busy.
      await new Promise((resolve) => setTimeout(resolve, 20));
      opening ??= openClassifier(data, embeddedBytes());
      const pixels = squarePixels(await open(), data.input);
      const classifier = await opening;
      const started = performance.now();
      const answer = await classifier(planarBytes(pixels, data.input));
      if (mine !== turn) return;
      await show(data, pixels, answer);
      if (mine !== turn) return;
      const best = argmax(answer.logits);
      status.textContent =
        `${name}: ${data.classes[best]!}, ${percent(answer.probabilities[best]!, 1)} ` +
        `(in ${Math.max(1, Math.round(performance.now() - started))} ms)`;
    } catch (error) {
      if (mine !== turn) return;
      // What stands there would pass for this file's answer.
      byId('try-result', HTMLElement)?.replaceChildren();
      status.textContent = `${name} cannot be classified: ${error instanceof Error ? error.message : error}`;
    }
  };
  const file = (chosen: File | null | undefined): void => {
    if (!chosen) return;
    void classify(chosen.name, async () => {
      try {
        return await createImageBitmap(chosen);
      } catch {
        throw new Error('this browser cannot read it as an image; choose a PNG, JPEG or WebP file');
      }
    });
  };

  input.addEventListener('change', () => file(input.files?.[0]));
  byId('try-choose', HTMLButtonElement)?.addEventListener('click', () => input.click());
  for (const button of section.querySelectorAll<HTMLButtonElement>('button.sample')) {
    const image = button.querySelector('img');
    if (!image) continue;
    button.addEventListener('click', () => {
      void classify(`test image ${image.alt}`, async () => {
        await image.decode();
        return image;
      });
    });
  }
  // An image may be dropped anywhere: the browser must not replace the report with it.
  addEventListener('dragover', (event) => {
    event.preventDefault();
    section.classList.add('dragging');
  });
  addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) section.classList.remove('dragging');
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    section.classList.remove('dragging');
    file(event.dataTransfer?.files[0]);
  });
}

function embeddedBytes(): Uint8Array {
  const text = document.getElementById(weightsId)?.textContent ?? '';
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function show(data: PageData, pixels: ImageData, answer: Answer): Promise<void> {
  const place = byId('try-result', HTMLElement);
  if (!place) return;
  const heat = make('canvas', { class: 'heat', 'aria-hidden': 'true' });
  const stack = make('div', { class: 'stack large', role: 'img' }, canvasOf(pixels), heat);
  const caption = make('p', { class: 'note' });
  const list = make('ol', { class: 'bars' });
  const best = topClasses(answer.logits, 5);
  const buttons = best.map((label) => {
    const probability = answer.probabilities[label]!;
    const button = make(
      'button',
      {
        type: 'button',
        class: 'bar',
        '--v': probability.toFixed(4),
        'data-label': label,
        'data-probability': probability,
        'aria-pressed': 'false',
      },
      make('span', { class: 'name' }, data.classes[label]!),
      make('span', { class: 'value' }, percent(probability, 1)),
    );
    button.addEventListener('click', () => void select(label));
    list.append(make('li', {}, button));
    return button;
  });
  let selected = -1;
  const select = async (label: number): Promise<void> => {
    selected = label;
    for (const button of buttons)
      button.setAttribute('aria-pressed', String(Number(button.dataset.label) === label));
    const map = await answer.heat(label);
    if (label !== selected) return;
    heat.hidden = map === undefined;
    if (map) paintHeat(heat, map);
    const words = map
      ? `Bright areas support ${data.classes[label]!} (Grad-CAM).`
      : 'The image as the network sees it.';
    stack.setAttribute('aria-label', `The image at ${data.input[2]}×${data.input[1]} pixels. ${words}`);
    caption.textContent = words;
  };
  place.replaceChildren(
    make('div', {}, stack, caption),
    make(
      'div',
      {},
      make('h3', {}, 'Top five classes'),
      list,
      make('p', { class: 'note' }, 'Choose a class to see the evidence for it.'),
    ),
  );
  await select(best[0]!);
}

function canvasOf(pixels: ImageData): HTMLCanvasElement {
  const canvas = make('canvas', { width: pixels.width, height: pixels.height, class: 'pixels' });
  canvas.getContext('2d')?.putImageData(pixels, 0, 0);
  return canvas;
}

function paintHeat(canvas: HTMLCanvasElement, map: HeatMap): void {
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext('2d')?.putImageData(new ImageData(heatPixels(map), map.width, map.height), 0, 0);
}
