/** The guided tour. */
export const lecture = {
  title: 'The lecture',
};
