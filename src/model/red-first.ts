/** Weights of networks that read blue first, as those of Caffe do. */
import type { Network } from './layer.ts';
import type { WeightSource } from './weight-streams.ts';

/** The same weights for images whose first channel is red: the input channels of the first convolution are reversed. */
export function redFirst(file: WeightSource, { layers }: Network): Pick<WeightSource, 'read'> {
  const first = layers.find(({ spec }) => spec.kind === 'conv2d')?.parameters[0];
  if (!first) return file;
  const [filters = 0, channels = 0, height = 0, width = 0] = first.shape;
  const plane = height * width;
  let turned: Promise<Float32Array> | undefined;
  const turn = async (): Promise<Float32Array> => {
    const values = new Float32Array(filters * channels * plane);
    await file.read(first.name, 0, values);
    return values.map((_, i) => {
      const channel = Math.floor(i / plane) % channels;
      return values[i + (channels - 1 - 2 * channel) * plane]!;
    });
  };
  return {
    async read(name, from, into) {
      if (name !== first.name) return file.read(name, from, into);
      turned ??= turn();
      into.set((await turned).subarray(from, from + into.length));
    },
  };
}
