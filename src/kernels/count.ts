/** Counts the floating-point operations of a kernel call by walking its recorded program with the call's arguments. */
import type { Kernel, Operand, Statement, StatementOf, Value } from './language.ts';

/** Floating-point operations per lane; a multiply-add counts as two, comparisons and selections as zero. */
const cost: Readonly<Partial<Record<string, number>>> = {
  add: 1,
  sub: 1,
  mul: 1,
  div: 1,
  sqrt: 1,
  max: 1,
  halve: 1,
  multiplyAdd: 2,
};

const isFloating = ({ type }: Value): boolean => type === 'f32' || type === 'vector';

/** Operations of the statements themselves, without the bodies of loops and branches. */
const straightCost = (statements: readonly Statement[]): number =>
  statements.reduce((sum, statement) => {
    if (statement.kind !== 'define' || !isFloating(statement.operands[0] as Value)) return sum;
    const { operator, operands, target } = statement;
    if (operator === 'sum') return sum + (operands[0] as Value).lanes - 1;
    return sum + (cost[operator] ?? 0) * target.lanes;
  }, 0);

/** The number that an operand stands for. Offsets are held in bytes; a constant `inFloats` is converted to them. */
type NumberOf = (operand: Operand, inFloats?: boolean) => number;

/** The number that an operation on scalars defines. `of` returns an operand's. */
function scalarResult({ operator, operands, target }: StatementOf<'define'>, of: NumberOf): number {
  const [first, second = 0, third = 0] = operands as readonly [Value, Operand?, Operand?];
  const offset = first.type === 'offset';
  const a = of(first);
  const b = of(second, offset && operator !== 'scale');
  switch (operator) {
    case 'add':
    case 'advanceBytes':
      return a + b;
    case 'advance':
      return a + of(second, true);
    case 'sub':
      return a - b;
    case 'mul':
    case 'scale':
      return a * b;
    case 'div':
      return target.type === 'i32' ? Math.trunc(a / b) : a / b;
    case 'max':
      return Math.max(a, b);
    case 'greater':
      return Number(a > b);
    case 'unequal':
      return Number(a !== b);
    case 'or':
      return a | b;
    case 'select':
      return a ? b : of(third);
    case 'toOffset':
      return a * 4;
    case 'toFloat':
      return a;
    default:
      // Vectors: their values do not affect control flow.
      return Number.NaN;
  }
}

/**
 * Floating-point operations of a call. `values` are its arguments; `floats` and `words` are views of its memory, which
 * holds the lengths of some kernels' lists.
 */
export function countOperations(
  kernel: Kernel,
  values: readonly number[],
  floats: Float32Array,
  words: Int32Array,
): number {
  const environment = new Float64Array(kernel.valueCount);
  kernel.parameters.forEach(({ id, type }, i) => {
    environment[id] = values[i]! * (type === 'offset' || type === 'pointer' ? 4 : 1);
  });
  let total = 0;
  const of: NumberOf = (operand, inFloats = false) =>
    typeof operand === 'number' ? operand * (inFloats ? 4 : 1) : environment[operand.id]!;

  const block = (statements: readonly Statement[]): void => {
    total += straightCost(statements);
    for (const statement of statements) {
      switch (statement.kind) {
        case 'define':
          if (statement.target.lanes === 1) environment[statement.target.id] = scalarResult(statement, of);
          break;
        case 'constant':
          environment[statement.target.id] = statement.value * (statement.target.type === 'offset' ? 4 : 1);
          break;
        case 'load': {
          const { target, form, pointer, at } = statement;
          const place = Math.floor(of(pointer) / 4) + at;
          if (form === 'float') environment[target.id] = floats[place]!;
          if (form === 'offset' || form === 'word') environment[target.id] = words[place]!;
          break;
        }
        case 'assign':
          environment[statement.target.id] = of(statement.value);
          break;
        case 'loop': {
          const { counter, count, body } = statement;
          const times = Math.max(0, of(count));
          // The results of a loop without inner loops and branches do not affect control flow either.
          if (body.every(({ kind }) => kind !== 'loop' && kind !== 'if')) {
            total += times * straightCost(body);
            break;
          }
          for (let i = 0; i < times; i++) {
            environment[counter.id] = i;
            block(body);
          }
          break;
        }
        case 'if':
          block(of(statement.condition) ? statement.yes : statement.no);
          break;
        default:
      }
    }
  };
  block(kernel.body);
  return total;
}
