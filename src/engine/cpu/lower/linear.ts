/**
 * A linear layer with the ReLU after it. Weights are stored as one row per output, [out][features], in the memory order
 * of the input map, so that no product needs a transposed copy: the forward pass multiplies by the transposed weights
 * (dot products of rows), the input's gradient is a plain product.
 *
 * A small layer is computed by image like everything else. A large one (`split`) would need its weights in each worker's
 * cache and gradient slots of its own size; it is computed for the whole batch at once, split over the threads by output
 * in the forward pass and by input in the backward pass. If nothing else needs its gradient, each part of it changes the
 * weights at once, and the whole of it is never stored.
 */
import { wholeRows } from '../../../kernels/gemm.ts';
import { unevenStride } from '../../map-shape.ts';
import { type Code, type Emit, reluThreshold } from '../plan/code.ts';
import type { Chunk } from '../plan/maps.ts';
import type { Linear } from '../plan/operations.ts';
import { cut } from '../plan/timeline.ts';
import { applyRule, type Rule } from '../plan/update.ts';
import type { Lowered, LoweringContext } from './lowering.ts';

/** Outputs of a task of a split forward pass, inputs of a task of a split backward pass. */
const outputBlock = 32;
const inputBlock = 256;
/**
 * Outputs whose weights the input's gradient of a split layer reads at a time: few rows, so that the processor sees that it reads along
 * each of them, although the product reads across.
 */
const outputsAtATime = 32;
/** Floats of depth per product, so that a batch of these rows stays in the second-level cache. */
const depthBlock = 1024;
/** Outputs and inputs of a part of the gradient that changes the weights at once: it stays in that cache. */
const ruleOutputs = 32;
const ruleInputs = 2048;

/** Features `from` … `from + count`. */
interface Range {
  readonly first: number;
  readonly count: number;
}

/** The products of a layer, for some of its outputs and inputs. */
class Products {
  readonly #operation: Linear;
  readonly #context: LoweringContext;

  constructor(operation: Linear, context: LoweringContext) {
    this.#operation = operation;
    this.#context = context;
  }

  get features(): number {
    const { taps, stored } = this.#operation.matrix;
    return taps * stored;
  }

  /** Address of the weights of an output, from an input on. */
  #weights(output: number, input: number): number {
    const { offset, rowStride } = this.#operation.matrix;
    return this.#context.layout.parameters.at + offset + output * rowStride + input;
  }

  outputs(code: Code, chunk: Chunk, { first, count }: Range): void {
    const { x, y, layout } = this.#context;
    const { matrix, relu } = this.#operation;
    for (let depth = 0; depth < this.features; depth += depthBlock) {
      code.call('gemmNT', {
        out: y.at(chunk, 0) + first,
        outStride: y.imageStride,
        outPlane: 0,
        left: x.at(chunk, 0) + depth,
        leftStride: x.imageStride,
        leftPlane: 0,
        right: this.#weights(first, depth),
        rightStride: matrix.rowStride,
        rightPlane: 0,
        planes: 1,
        rows: chunk.count,
        columns: count,
        depth: Math.min(depthBlock, this.features - depth),
        accumulate: Number(depth > 0),
      });
    }
    code.call('addBias', {
      out: y.at(chunk, 0) + first,
      outRow: y.imageStride,
      rows: chunk.count,
      columns: count,
      bias: layout.parameters.at + matrix.bias + first,
      threshold: reluThreshold(relu),
    });
  }

  /** Writes the gradient of some outputs' weights for some inputs, rows `outStride` apart, or adds to it. */
  weightGradient(
    code: Code,
    chunk: Chunk,
    outputs: Range,
    inputs: Range,
    out: number,
    outStride: number,
    accumulate: boolean,
  ): void {
    const { x, dy } = this.#context;
    code.call('gemmTN', {
      out,
      outStride,
      outPlane: 0,
      left: dy!.at(chunk, 0) + outputs.first,
      leftStride: dy!.imageStride,
      leftPlane: 0,
      right: x.at(chunk, 0) + inputs.first,
      rightStride: x.imageStride,
      rightPlane: 0,
      planes: 1,
      rows: outputs.count,
      columns: inputs.count,
      depth: chunk.count,
      accumulate: Number(accumulate),
    });
  }

  biasGradient(code: Code, chunk: Chunk, out: number, accumulate: boolean): void {
    const { dy } = this.#context;
    if (!this.#operation.spec.bias) return;
    code.call('sumPixels', {
      out,
      map: dy!.at(chunk, 0),
      mapRow: 0,
      mapPixel: dy!.imageStride,
      rows: 1,
      columns: chunk.count,
      channels: this.#operation.matrix.storedOut,
      accumulate: Number(accumulate),
    });
  }

  inputGradient(code: Code, chunk: Chunk, { first, count }: Range): void {
    const { x, dx, dy, masksInput } = this.#context;
    const { matrix, split } = this.#operation;
    const { rowStride, storedOut } = matrix;
    if (!dx) return;
    const out = { out: dx.at(chunk, 0) + first, rows: chunk.count };
    for (const outputs of cut(0, storedOut, split ? outputsAtATime : storedOut)) {
      code.call('gemmNN', {
        ...out,
        outStride: dx.imageStride,
        outPlane: 0,
        left: dy!.at(chunk, 0) + outputs.first,
        leftStride: dy!.imageStride,
        leftPlane: 0,
        right: this.#weights(outputs.first, first),
        rightStride: rowStride,
        rightPlane: 0,
        ...wholeRows(count),
        planes: 1,
        columns: count,
        depth: outputs.count,
        accumulate: Number(outputs.first > 0),
      });
    }
    if (!masksInput) return;
    code.call('reluBackward', {
      ...out,
      outRow: dx.imageStride,
      gradient: out.out,
      gradientRow: dx.imageStride,
      activation: x.at(chunk, 0) + first,
      activationRow: x.imageStride,
      length: count,
      threshold: 0,
    });
  }
}

export function lowerLinear(operation: Linear, context: LoweringContext): Lowered {
  const { matrix, split } = operation;
  const products = new Products(operation, context);
  const { features } = products;
  const outputs: Range = { first: 0, count: matrix.storedOut };
  const all: Range = { first: 0, count: features };
  const gradients = (code: Code, chunk: Chunk, slot: number, first: boolean, inputs: Range): void => {
    const out = slot + matrix.offset + inputs.first;
    if (!context.inference)
      products.weightGradient(code, chunk, outputs, inputs, out, matrix.rowStride, !first);
    products.inputGradient(code, chunk, inputs);
  };
  const update =
    split &&
    context.training &&
    !context.inference &&
    context.inPlace &&
    updateTasks(operation, products, context, context.inPlace);
  return {
    forward: (code, chunk) => products.outputs(code, chunk, outputs),
    forwardTasks: (chunk) => [
      cut(0, matrix.storedOut, outputBlock).map(
        (range) => (code: Code) => products.outputs(code, chunk, range),
      ),
    ],
    backward(code, chunk, slot, first) {
      gradients(code, chunk, slot, first, all);
      if (!context.inference) products.biasGradient(code, chunk, slot + matrix.bias, !first);
    },
    backwardTasks(chunk, _, slot) {
      const blocks = cut(0, features, inputBlock);
      if (context.inference) {
        const inputs = blocks.map((range) => (code: Code) => products.inputGradient(code, chunk, range));
        return { tasks: [inputs], slots: 0 };
      }
      if (update) {
        const inputs = blocks.map((range) => (code: Code) => products.inputGradient(code, chunk, range));
        return { tasks: [...(context.dx ? [inputs] : []), update(chunk)], slots: 0 };
      }
      const bias: Emit = (code) => products.biasGradient(code, chunk, slot(0) + matrix.bias, false);
      const parts = blocks.map(
        (range): Emit =>
          (code) =>
            gradients(code, chunk, slot(0), true, range),
      );
      return { tasks: [[bias, ...parts]], slots: 1 };
    },
  };
}

/** Tasks that compute a part of the gradient and apply the rule to it, once the weights are no longer needed. */
function updateTasks(
  operation: Linear,
  products: Products,
  { layout, worker, working }: LoweringContext,
  rule: Rule,
): (chunk: Chunk) => Emit[] {
  const { matrix, spec } = operation;
  const stride = unevenStride(ruleInputs);
  const part = working(Math.max(ruleOutputs * stride, matrix.storedOut), 'backward');
  const apply = (code: Code, from: number, length: number, gradient: number): void =>
    applyRule(code, layout, worker, rule, operation, from, length, gradient);
  return (chunk) => {
    const weights = cut(0, matrix.storedOut, ruleOutputs).map(
      (outputs): Emit =>
        (code) => {
          for (const inputs of cut(0, products.features, ruleInputs)) {
            products.weightGradient(code, chunk, outputs, inputs, part.at, stride, false);
            for (let row = 0; row < outputs.count; row++) {
              const from = matrix.offset + (outputs.first + row) * matrix.rowStride + inputs.first;
              apply(code, from, inputs.count, part.at + row * stride);
            }
          }
        },
    );
    if (!spec.bias) return weights;
    const bias: Emit = (code) => {
      products.biasGradient(code, chunk, part.at, false);
      apply(code, matrix.bias, matrix.storedOut, part.at);
    };
    return [bias, ...weights];
  };
}
