/** The view that builds networks. */
export const build = {
  title: 'Build a network',
};
