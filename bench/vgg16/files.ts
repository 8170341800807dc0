/** The files that all contestants read: VGG-16's weights, the same network as ONNX, images and labels. Node only. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { infoOf } from '../../src/model/info.ts';
import type { Network } from '../../src/model/layer.ts';
import { buildNetwork } from '../../src/model/network.ts';
import { writeWeights } from '../../src/model/weight-files.ts';
import { exportOnnx } from '../../src/runs/export-onnx.ts';
import { formulaDataset, formulaWeights, vggOf } from '../../test/vgg-formula.ts';
import { fileNames, side } from './job.ts';

export const vgg16Network = (): Network => buildNetwork(vggOf('D', { dropout: 0.5 }), [3, side, side]);

export interface Vgg16Files extends AsyncDisposable {
  readonly folder: string;
}

/** Writes the files for batches of up to `images` into a temporary folder, which disposal removes. */
export async function writeVgg16Files(images: number): Promise<Vgg16Files> {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true });
  try {
    const network = vgg16Network();
    const weights = formulaWeights(network);
    const { pixels, labels } = formulaDataset(images, side);
    await Promise.all([
      writeWeights(join(folder, fileNames.weights), weights),
      exportOnnx({ ...infoOf(network, {}), weights }, join(folder, fileNames.onnx)),
      writeFile(join(folder, fileNames.pixels), pixels),
      writeFile(join(folder, fileNames.labels), labels),
    ]);
  } catch (error) {
    await remove();
    throw error;
  }
  return { folder, [Symbol.asyncDispose]: remove };
}
