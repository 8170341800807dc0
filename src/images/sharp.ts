/** Loads sharp, the optional dependency that decodes images (Node only). */
import { createRequire } from 'node:module';
import { VggError } from '../errors.ts';
import { codeUrl } from '../package-files.ts';

/** What a file says of its image before it is decoded. */
export interface ImageHeader {
  readonly format?: string;
  readonly width?: number;
  readonly height?: number;
  /** For example `srgb`, `b-w`, `cmyk`. */
  readonly space?: string;
  readonly channels?: number;
  /** `uchar` for bytes, `ushort` for 16 bits. */
  readonly depth?: string;
  /** How AVIF (`av1`) and HEIC (`hevc`) are compressed. */
  readonly compression?: string;
}

/** The part of sharp's interface that is used. Each call returns the same object. */
export interface SharpImage {
  metadata(): Promise<ImageHeader>;
  autoOrient(): SharpImage;
  removeAlpha(): SharpImage;
  pipelineColourspace(space: string): SharpImage;
  toColourspace(space: string): SharpImage;
  raw(): SharpImage;
  toBuffer(options: { readonly resolveWithObject: true }): Promise<{
    readonly data: Uint8Array;
    readonly info: { readonly width: number; readonly height: number; readonly channels: number };
  }>;
}

export interface Sharp {
  (
    bytes: Uint8Array,
    options: {
      readonly failOn: 'error';
      readonly limitInputPixels: number | false;
      readonly ignoreIcc: boolean;
    },
  ): SharpImage;
  cache(on: false): unknown;
  concurrency(threads: number): unknown;
}

let loaded: Sharp | undefined;

/**
 * Resolves sharp relative to the running program, because bundles cannot contain its binary. It keeps no decoded
 * images, and each image is decoded by one thread.
 * @throws VggError if sharp is not installed or does not run on this machine.
 */
export function loadSharp(url: string = codeUrl()): Sharp {
  if (loaded && url === codeUrl()) return loaded;
  try {
    const sharp = createRequire(url)('sharp') as Sharp;
    sharp.cache(false);
    sharp.concurrency(1);
    loaded = sharp;
    return sharp;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new VggError(
      code === 'MODULE_NOT_FOUND'
        ? 'image files are decoded by the npm package sharp, which is not installed; run npm install sharp'
        : `the npm package sharp, which decodes image files, does not run on this machine: ${message.trim().split('\n')[0]}`,
    );
  }
}
