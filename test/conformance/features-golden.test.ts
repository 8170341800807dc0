/** Features, input gradients, Grad-CAM and the perceptual distance of every device against PyTorch and torchvision. */
import { readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import { gradCam } from '../../src/explain/explain.ts';
import { gramGradient, gramMatrices } from '../../src/explain/gram.ts';
import { perceptualDistance } from '../../src/explain/perceptual.ts';
import { dropout, flatten, linear, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';
import { readSafetensors } from '../../src/model/safetensors.ts';
import { vggFeatures } from '../../src/model/vgg.ts';
import { Model } from '../../src/train/model.ts';
import { expectAllClose } from '../allclose.ts';
import { devices } from '../devices.ts';

const file = new URL('../golden/features.safetensors', import.meta.url);
const { tensors } = readSafetensors(readFileSync(file));

/** As `golden/make_features.py` builds them. */
const networkOf = (name: string) =>
  buildNetwork(
    sequential(
      [
        ...vggFeatures([4, 4, 'M', 6, 6, 'M', 8, 8, 8, 'M'], [], { batchNorm: name === 'vgg-bn' }),
        flatten(),
        linear({ out: 10, name: 'classifier.0' }),
        relu(),
        dropout(),
        linear({ out: 5, name: 'classifier.3' }),
      ],
      { name },
    ),
    [3, 20, 24],
  );

const namesOf = (prefix: string): string[] =>
  [...tensors.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));

describe.each(devices)('$name', ({ open, threads }) => {
  test.each(['vgg', 'vgg-bn'])('%s', async (name) => {
    const golden = (tensor: string): Float32Array => tensors.get(`${name}/${tensor}`)!.data;
    const network = networkOf(name);
    await using model = new Model(network, await open(network, { batchSize: 2, threads }), 2);
    const prefix = `${name}/weights/`;
    await model.setWeights(new Map(namesOf(prefix).map((key) => [key, tensors.get(prefix + key)!])));
    const [images, targets] = [golden('images'), golden('targets')];

    const layers = namesOf(`${name}/features/`);
    for (const [layer, { data }] of await model.features(images, layers)) {
      expectAllClose(data, golden(`features/${layer}`), 1e-5, layer);
    }
    const { data: ofClasses } = await model.inputGradient(images, { classes: [3, 1] });
    expectAllClose(ofClasses, golden('gradient/classes'), 1e-4, 'gradient of two logits');
    const { data: ofLabels } = await model.inputGradient(images, { labels: [4, 0] });
    expectAllClose(ofLabels, golden('gradient/labels'), 1e-4, 'gradient of the cross-entropy');

    const options = { classes: [3, 1] };
    const { data: slopes } = await model.inputGradient(images, options, { layer: 'relu3_3' });
    expectAllClose(slopes, golden('cam/gradient'), 1e-4, 'gradient with respect to relu3_3');
    const heats = await gradCam(model, images, options);
    expectAllClose(
      heats.flatMap(({ values }) => [...values]),
      golden('cam'),
      1e-4,
      'Grad-CAM',
    );

    const perceptual = await perceptualDistance(model, images, targets, { gradient: true });
    expectAllClose(perceptual.distances, golden('perceptual'), 1e-5, 'perceptual distance');
    expectAllClose(perceptual.gradient!.data, golden('gradient/perceptual'), 1e-4, 'its gradient');

    // The sum of all squared entries of Gram matrices.
    const styled = ['conv1_1', 'relu1_2', 'pool1', 'relu3_3'];
    const given = new Map(
      [...(await model.features(images, styled))].map(([layer, maps]) => {
        const slope = gramMatrices(maps).data.map((value) => 2 * value);
        return [layer, gramGradient(maps, slope)] as const;
      }),
    );
    const { data: ofStyle } = await model.inputGradient(images, { features: given });
    expectAllClose(ofStyle, golden('gradient/style'), 1e-4, 'gradient of Gram matrices');
  });
});
