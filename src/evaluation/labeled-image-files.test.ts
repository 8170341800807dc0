/** Images from files reach the network with the bytes that `classify` gives it, which are those of torchvision. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DataError } from '../errors.ts';
import { decodeImage } from '../images/decode.ts';
import { fitFor, fitImage } from '../images/fit.ts';
import { infoOf } from '../model/info.ts';
import { adaptiveAvgPool2d, flatten, linear } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { evaluateProtocol, type ProtocolModel } from './evaluate.ts';
import { labeledImageFiles } from './labeled-image-files.ts';
import { confusionRaster, confusionSvg } from './matrix-image.ts';

const names = ['420.jpg', '422-odd.jpg', '444.jpg', '60x44/alpha.png', 'orientation-6.jpg'];
const filesOf = (sources: readonly string[]) => ({
  name: 'files',
  classes: ['a', 'b'],
  labels: Uint16Array.from(sources, (_, i) => i % 2),
  length: sources.length,
  images: { sources },
});

/** A model that keeps what it sees. */
function recorder(channels: 1 | 3): { readonly model: ProtocolModel; readonly seen: Uint8Array[] } {
  const network = buildNetwork(sequential([adaptiveAvgPool2d(1), flatten(), linear(2)]), [
    channels,
    224,
    224,
  ]);
  const seen: Uint8Array[] = [];
  const size = channels * 224 * 224;
  return {
    seen,
    model: {
      network,
      info: infoOf(network, { normalization: null }),
      async predict(images) {
        const count = images.length / size;
        for (let i = 0; i < count; i++)
          seen.push(Uint8Array.from(images.subarray(i * size, (i + 1) * size), (v) => Math.round(255 * v)));
        const logits = new Float32Array(2 * count);
        return { logits, probabilities: logits, labels: new Uint32Array(count) };
      },
    },
  };
}

test.each([3, 1] as const)('%i channels', { timeout: 60_000 }, async (channels) => {
  const paths = names.map((name) => `test/golden/images/${name}`);
  const { model, seen } = recorder(channels);
  const { images, loss } = await evaluateProtocol([model], labeledImageFiles(filesOf(paths)));
  expect(images).toBe(names.length);
  expect(loss).toBeCloseTo(Math.LN2, 12);
  for (const [i, path] of paths.entries()) {
    const image = await decodeImage(new Uint8Array(readFileSync(path)));
    const expected = fitImage(image, fitFor([channels, 224, 224]), channels);
    expect(Buffer.compare(seen[i]!, expected), path).toBe(0);
  }
});

test('a damaged file is named', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vggnet-images-'));
  const path = join(folder, 'cut.jpg');
  writeFileSync(path, readFileSync('test/golden/images/420.jpg').subarray(0, 9000));
  const failing = evaluateProtocol([recorder(3).model], labeledImageFiles(filesOf([path])));
  await expect(failing).rejects.toThrow(DataError);
  await expect(failing).rejects.toThrow(`${path}: the JPEG image is damaged`);
  rmSync(folder, { recursive: true });
});

test('a confusion matrix is drawn with names that are text, and colors of shares', () => {
  const matrix = {
    classes: [
      { name: 'a <b> & "c"', images: 4, correct: 3, accuracy: 0.75 },
      { name: 'a very long name of a class of images', images: 0, correct: 0, accuracy: Number.NaN },
    ],
    confusion: [
      [3, 1],
      [0, 0],
    ],
    others: [0, 0],
    accuracy: 0.75,
    images: 4,
  };
  const svg = confusionSvg(matrix, 'net on <data>');
  expect(svg).toContain('a &lt;b&gt; &amp; &quot;c&quot;</text>');
  expect(svg).toContain('a very long name of a c…</text>');
  expect(svg).toContain('net on &lt;data&gt;: 75.00 % of 4 images');
  expect(svg).not.toMatch(/NaN|undefined|<b>/);
  const { width, height, bytes } = confusionRaster(matrix);
  expect([width, height]).toEqual([720, 720]);
  const pixel = (x: number, y: number): number[] => [
    ...bytes.subarray(3 * (y * 720 + x), 3 * (y * 720 + x) + 3),
  ];
  expect(pixel(719, 719)).toEqual([0, 0, 4]);
  expect(pixel(0, 0)).not.toEqual(pixel(719, 0));
  const many = Array.from({ length: 60 }, (_, i) => ({ name: `${i}`, images: 1, correct: 1, accuracy: 1 }));
  const large = {
    ...matrix,
    classes: many,
    confusion: many.map((_, i) => many.map((__, j) => Number(i === j))),
  };
  expect(confusionSvg(large, 'x').match(/<text/g)?.length).toBe(2);
  expect(confusionRaster(large).width).toBe(720);
});
