export const see = { title: '' };
