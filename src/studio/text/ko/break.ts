import type { Text } from '../en.ts';

export const breaking: Text['breaking'] = { title: '' };
