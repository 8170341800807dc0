export const breaking = { title: '' };
