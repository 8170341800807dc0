/**
 * The exponential function of numbers up to 0, for softmax. `Math.exp` takes ten times as long after 256-bit kernels: they
 * leave the upper halves of vector registers in use, and V8's implementation is C++ compiled without AVX.
 */

/** ln 2 in two parts; the first ends in zeros, so that its products with small whole numbers are exact. */
const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;

/** 2⁻ⁱ, down to the smallest number and 0. */
const powers: Float64Array = Float64Array.from({ length: 1076 }, (_, i) => 2 ** -i);

/** Taylor coefficients of e^r, highest power first; accurate to a double's last bits for |r| ≤ ln 2 / 2. */
const coefficients: Float64Array = Float64Array.from({ length: 14 }, (_, i) => {
  let factorial = 1;
  for (let n = 2; n <= 13 - i; n++) factorial *= n;
  return 1 / factorial;
});

/** e^x for x ≤ 0, accurate to about one unit in the last place; NaN stays NaN. */
export function exponential(x: number): number {
  if (x < -745.2) return 0;
  // x = −i · ln 2 + r.
  const i = Math.floor(0.5 - x * Math.LOG2E);
  const r = x + i * ln2High + i * ln2Low;
  let sum = coefficients[0]!;
  for (let n = 1; n < 14; n++) sum = sum * r + coefficients[n]!;
  return sum * powers[i]!;
}
