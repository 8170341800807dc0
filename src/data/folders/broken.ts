/** Image files that cannot be used. */
import { DataError } from '../../errors.ts';
import { counted } from '../../words.ts';
import { firstTen } from './found.ts';

/** An image file that cannot be used. */
export interface BrokenImage {
  readonly file: string;
  /** What is wrong, with the file's name. */
  readonly problem: string;
}

/** Images of a data set are broken. */
export class BrokenImagesError extends DataError {
  override name = 'BrokenImagesError';
  /** All of them; the message lists ten. */
  readonly broken: readonly BrokenImage[];

  constructor(message: string, broken: readonly BrokenImage[]) {
    super(message);
    this.broken = broken;
  }
}

/** The error that lists broken images and says what to do. */
export function refusal(where: string, broken: readonly BrokenImage[], total: number): BrokenImagesError {
  const isOne = broken.length === 1;
  return new BrokenImagesError(
    `${where}: ${counted(broken.length, 'image')} of ${total} ${isOne ? 'is' : 'are'} broken:\n` +
      `  ${firstTen(
        broken.map(({ problem }) => problem),
        '\n  ',
      )}\n` +
      `repair or remove ${isOne ? 'it' : 'them'}, or leave ${isOne ? 'it' : 'them'} out with --skip-broken (skipBroken: true)`,
    broken,
  );
}
