/** Where the center of an image begins. */

/**
 * Where torchvision's `CenterCrop` begins on a side: Python's `round((side - crop) / 2)`, which rounds a half to the
 * even number. Negative if the side is padded with zeros: the extra pixel is then at the end.
 */
export function centerOffset(side: number, crop: number): number {
  const spare = side - crop;
  if (spare < 0) return -Math.floor(-spare / 2);
  const low = Math.floor(spare / 2);
  return spare % 2 === 0 || low % 2 === 0 ? low : low + 1;
}
