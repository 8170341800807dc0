/** The image that is looked at: a test image, or the user's own. */
import { type Signal, signal } from '@preact/signals';
import type { ImageChoice } from '../worker/protocol.ts';

export const chosenImage: Signal<ImageChoice> = signal<ImageChoice>({ split: 'test', index: 0 });
