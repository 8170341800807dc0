/** This package's version; a test compares it with package.json, which an application's bundle does not contain. */
export const packageVersion = (): string => '0.1.0';
