/**
 * Every member of the VGG family against PyTorch in float64, from its `.pth` files (`golden/make_family.py`): logits and
 * loss at four sizes on every device, gradients on the reference. On other devices, gradients are compared where rounding
 * does not turn a ReLU or a pool: of small images, without batch normalization. `VGGNET_TEST_FAMILY=FOLDER` compares the
 * files in that folder, for instance of torchvision's full networks.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createModel } from '../src/model/models.ts';
import { buildNetwork } from '../src/model/network.ts';
import { normalizationPresets } from '../src/model/normalization-presets.ts';
import { openWeights } from '../src/model/weight-files.ts';
import { compile } from '../src/train/model.ts';
import { expectAllClose } from './allclose.ts';
import { noNative } from './native.ts';

interface Golden {
  readonly width: number;
  readonly hidden: number;
  readonly classes: number;
  readonly sizes: readonly {
    readonly size: readonly [height: number, width: number];
    readonly logits: readonly number[];
    readonly loss: number;
    /** The largest absolute value, then values at equal distances. */
    readonly gradients: Readonly<Record<string, readonly number[]>>;
  }[];
}

const folder = process.env.VGGNET_TEST_FAMILY ?? fileURLToPath(new URL('golden/family/', import.meta.url));
const members = readdirSync(folder).flatMap((file) => /^(.*)\.json$/.exec(file)?.[1] ?? []);
const devices = [...(noNative === undefined ? (['native'] as const) : []), 'wasm', 'reference'] as const;
/** Of logits, of gradients: relative to the largest. */
const tolerances = { native: [1e-5, 1e-4], wasm: [1e-5, 1e-4], reference: [1e-6, 1e-6] } as const;
/** The reference is slow; a larger image would add nothing. */
const isSmall = ([height]: readonly [number, number]): boolean => height <= 64;

/** The two images of the script, normalized as by torchvision. */
function images([height, width]: readonly [number, number]): Float32Array {
  const { mean, std } = normalizationPresets.torchvision;
  const area = height * width;
  return Float32Array.from({ length: 6 * area }, (_, i) => {
    const pixel = Math.imul(i, 2_654_435_761) >>> 24;
    const channel = Math.floor(i / area) % 3;
    return Math.fround(
      Math.fround(Math.fround(pixel / 255) - Math.fround(mean[channel]!)) / Math.fround(std[channel]!),
    );
  });
}

test('all members are compared', () => {
  expect(members.length).toBe(process.env.VGGNET_TEST_FAMILY === undefined ? 10 : members.length);
  expect(members.length).toBeGreaterThan(0);
});

describe.each(devices)('%s', (device) => {
  const cases = members.flatMap((name) => {
    const golden = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as Golden;
    const sizes = golden.sizes.filter(({ size }) => device !== 'reference' || isSmall(size));
    return sizes.map((found) => [name, found.size.join('×'), golden, found] as const);
  });

  test.each(cases)('%s at %s', async (name, _, { width, hidden, classes }, found) => {
    const input = [3, ...found.size];
    const options = { width, hidden, dropout: 0, head: 'imagenet' };
    const network = createModel(name, { classes, input, options });
    await using weights = await openWeights(join(folder, `${name}.pth`), buildNetwork(network, input));
    await using model = await compile(network, { input, batchSize: 2, device, weights });
    const batch = images(found.size);
    const { logits } = await model.predict(batch);
    const largest = Math.max(...found.logits.map(Math.abs));
    const [ofLogits, ofGradients] = tolerances[device];
    expectAllClose(logits, found.logits, ofLogits, 'logits', largest);
    const { loss, gradients } = await model.gradients(batch, Int32Array.of(1, classes - 1));
    // Statistics of two images amplify rounding.
    const amplified = name.endsWith('-bn') ? 10 : 1;
    expect(Math.abs(loss - found.loss)).toBeLessThan(amplified * 1e-5 * Math.max(1, found.loss));
    const hasNormalization = name.endsWith('-bn');
    if (device !== 'reference' && (hasNormalization || !isSmall(found.size))) return;
    for (const [tensor, [most = 0, ...samples]] of Object.entries(found.gradients)) {
      const { data } = gradients.get(tensor)!;
      const largestOwn = data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const isConvolution = gradients.get(tensor.replace('.bias', '.weight'))!.shape.length === 4;
      if (hasNormalization && isConvolution && tensor.endsWith('.bias')) {
        // The normalization subtracts it again: its gradient is 0 but for rounding.
        expect(largestOwn).toBeLessThan(1e-6);
        continue;
      }
      const step = Math.max(1, Math.floor(data.length / 8));
      const own = samples.map((_value, i) => data[i * step]!);
      expectAllClose(own, samples, ofGradients, `gradient of ${tensor}`, most);
      expectAllClose([largestOwn], [most], ofGradients, `largest gradient of ${tensor}`);
    }
  });
});
