import type { Text } from '../en.ts';

export const see: Text['see'] = { title: '' };
