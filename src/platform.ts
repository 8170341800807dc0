/** Whether this is Node rather than a browser. */
export const inNode = (): boolean => typeof process === 'object' && Boolean(process.versions?.node);
