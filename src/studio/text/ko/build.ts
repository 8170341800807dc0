/** The view that builds networks. */
import type { Text } from '../en.ts';

export const build: Text['build'] = {
  title: '신경망 만들기',
};
