import type { Text } from '../en.ts';

export const share: Text['share'] = { title: '' };
