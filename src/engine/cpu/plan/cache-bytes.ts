/** The cache that blocks are made for where nothing is known of the processor, as in browsers. */

/** Used if the machine's size is unknown: 1 MiB. */
export const usualCacheBytes: number = 1 << 20;
