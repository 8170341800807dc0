/** The sizes of prepared images, and the weights that resize photos to them. */
import { centerWindow, planResize, type ResizePlan, resizedSides, type Sides } from '../resize.ts';

/** Sides of a stored image: of a panorama or a banner only the center is kept, this many times as long as it is short. */
const longest = 4;

/** The sides of a stored image of a photo of `sides`. */
export function storedSides(sides: Sides, side: number): Sides {
  const [height, width] = resizedSides(sides, side);
  return [Math.min(height, longest * side), Math.min(width, longest * side)];
}

/** The most bytes of a stored image. */
export const mostStoredBytes = (side: number): number => 3 * longest * side * side;

/** Plans the resize of photos; keeps the last ones, since photos of one camera have one size. */
export function rememberPlans(side: number): (source: Sides) => ResizePlan {
  const plans = new Map<string, ResizePlan>();
  return (source) => {
    const key = source.join('×');
    const known = plans.get(key);
    if (known) return known;
    if (plans.size >= 8) plans.delete(plans.keys().next().value!);
    const whole = resizedSides(source, side);
    const plan = planResize(source, whole, centerWindow(whole, storedSides(source, side)));
    plans.set(key, plan);
    return plan;
  };
}
