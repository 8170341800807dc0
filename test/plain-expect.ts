/** The part of vitest's `expect` that comparisons with the reference need, for pages and the GPU benchmark. */
type Check = (expected: unknown) => void;

const shown = (value: unknown): string => JSON.stringify(value) ?? String(value);

export function expect(actual: unknown, what = 'value'): Record<string, Check> {
  const check =
    (holds: (expected: unknown) => boolean): Check =>
    (expected) => {
      if (!holds(expected)) throw new Error(`${what}: ${shown(actual)} instead of ${shown(expected)}`);
    };
  return {
    toBe: check((expected) => Object.is(actual, expected)),
    toEqual: check((expected) => shown(actual) === shown(expected)),
    toBeLessThanOrEqual: check((expected) => (actual as number) <= (expected as number)),
  };
}
