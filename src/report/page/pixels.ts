/** Converts images of any size into a network's input bytes, on a canvas. */
import type { ImageShape } from '../../data/dataset.ts';

/**
 * The center of an image, cropped to the aspect ratio of the network's input and scaled to its size: interleaved RGBA.
 * An image of that size keeps its bytes. Transparent pixels become white.
 */
export function squarePixels(source: ImageBitmap | HTMLImageElement, shape: ImageShape): ImageData {
  const [, height, width] = shape;
  const [sourceWidth, sourceHeight] =
    source instanceof HTMLImageElement
      ? [source.naturalWidth, source.naturalHeight]
      : [source.width, source.height];
  const scale = Math.min(sourceWidth / width, sourceHeight / height);
  const [cutWidth, cutHeight] = [width * scale, height * scale];
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(
    source,
    (sourceWidth - cutWidth) / 2,
    (sourceHeight - cutHeight) / 2,
    cutWidth,
    cutHeight,
    0,
    0,
    width,
    height,
  );
  return context.getImageData(0, 0, width, height);
}

/** RGBA as planar bytes [C, H, W]; one channel is the luma of ITU-R BT.601. */
export function planarBytes({ data }: ImageData, [channels, height, width]: ImageShape): Uint8Array {
  const area = height * width;
  const bytes = new Uint8Array(channels * area);
  for (let i = 0; i < area; i++) {
    const [red, green, blue] = [data[4 * i]!, data[4 * i + 1]!, data[4 * i + 2]!];
    if (channels === 3) {
      bytes[i] = red;
      bytes[area + i] = green;
      bytes[2 * area + i] = blue;
    } else {
      bytes.fill(Math.round(0.299 * red + 0.587 * green + 0.114 * blue), i, i + 1);
    }
  }
  return bytes;
}
