/** The view for the user's own images. */
export const trying = {
  title: 'Try your own images',
};
