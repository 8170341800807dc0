/** The view for the user's own images. */
import type { Text } from '../en.ts';

export const trying: Text['trying'] = {
  title: '내 이미지로 써 보기',
};
