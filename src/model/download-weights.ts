/** Downloads published weights (Node only). */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { dataDirectory } from '../data/cache.ts';
import { UsageError } from '../errors.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checksumOf, onDisk, sizeOf, type TransferProgress, transferFile } from '../files/transfer.ts';
import { checkOptions, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { nearest } from '../suggest.ts';
import { torchvisionUrl, torchvisionWeights } from './torchvision-weights.ts';

export interface DownloadWeightsOptions {
  /** Where the file goes; `$VGGNET_DATA` or the cache directory by default. */
  readonly directory?: string;
  /** Another place than torchvision's, and the first digits of the SHA-256 of what is there. */
  readonly url?: string;
  readonly sha256?: string;
  readonly onProgress?: (progress: TransferProgress) => void;
  readonly signal?: AbortSignal;
}

export interface DownloadedWeights {
  readonly path: string;
  /** Whether it existed before. */
  readonly present: boolean;
}

/**
 * Downloads torchvision's weights of a network unless they exist. The file appears when its checksum is right.
 * @throws DataError for a wrong checksum, VggError for network and disk errors, UsageError for an unknown network.
 */
export async function downloadWeights(
  model: string,
  options: DownloadWeightsOptions = {},
): Promise<DownloadedWeights> {
  checkOptions<DownloadWeightsOptions>('downloadWeights', options, {
    directory: 'optional',
    url: 'optional',
    sha256: 'optional',
    onProgress: 'optional',
    signal: 'optional',
  });
  const published = torchvisionWeights.find((weights) => weights.model === model);
  if (!published) {
    const names = torchvisionWeights.map((weights) => weights.model);
    throw new UsageError(`no weights of ${model} are published: ${nearest('network', String(model), names)}`);
  }
  const wrong = options.sha256 !== undefined && !/^[0-9a-f]{8,64}$/.test(String(options.sha256));
  if (wrong) {
    throw new UsageError(
      `downloadWeights: sha256 ${shown(options.sha256)} is not 8 to 64 hexadecimal digits in lower case`,
    );
  }
  if (options.url !== undefined && !/^https?:\/\//.test(String(options.url)))
    throw new UsageError(
      `downloadWeights: url ${shown(options.url)} does not start with https:// or http://`,
    );
  const { file } = published;
  const { directory = dataDirectory(), onProgress, signal } = options;
  const { url = `${torchvisionUrl}${file}`, sha256 = published.sha256 } = options;
  checkPath('downloadWeights: directory', directory);
  const path = join(directory, file);
  if (sizeOf(path) > 0) {
    onProgress?.({ phase: 'check', bytes: 0, total: undefined });
    if ((await checksumOf(path, 'sha256', signal)).startsWith(sha256)) return { path, present: true };
  }
  onDisk(directory, () => makeFolder(directory));
  const part = `${path}.part`;
  const byHand = `Download ${url} manually (SHA-256 ${sha256}…) and save it as ${path}`;
  await transferFile({ url, part, algorithm: 'sha256', checksum: sha256, byHand, onProgress, signal });
  onDisk(path, () => renameSync(part, path));
  return { path, present: false };
}
