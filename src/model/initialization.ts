import type { Sequential } from './network.ts';
export const initializationNames = ['pytorch', 'torchvision', 'glorot'] as const;
export type InitializationName = (typeof initializationNames)[number];
export const withInitialization = (s: Sequential, _: InitializationName): Sequential => s;
