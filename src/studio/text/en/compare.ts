export const compare = { title: '' };
