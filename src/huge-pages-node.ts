/**
 * Asks Linux to back a large, still empty array with huge pages. With pages of 2 MiB instead of 4 KiB, reading a data
 * set takes half the time and a training step of `vgg7` 2 % less. If the system does not support it, nothing changes.
 */

/** MADV_HUGEPAGE of <sys/mman.h>. */
const hugePage = 14;
const pageBytes = 4096;

export async function wishHugePages(array: Uint8Array): Promise<void> {
  if (process.platform !== 'linux') return;
  try {
    const { address, load } = (await import('./koffi-node.ts')).loadKoffi();
    const madvise = load('libc.so.6').func('int madvise(uintptr_t address, size_t length, int advice)');
    const from = Number(address(array));
    const first = Math.ceil(from / pageBytes) * pageBytes;
    const length = Math.floor((from + array.byteLength - first) / pageBytes) * pageBytes;
    if (length > 0) madvise(first, length, hugePage);
  } catch {
    // koffi is optional, and not every system has libc.so.6.
  }
}
