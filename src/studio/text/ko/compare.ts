import type { Text } from '../en.ts';

export const compare: Text['compare'] = { title: '' };
