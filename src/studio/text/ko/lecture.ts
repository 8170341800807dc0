/** The guided tour. */
import type { Text } from '../en.ts';

export const lecture: Text['lecture'] = {
  title: '강의',
};
