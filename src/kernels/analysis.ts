/** Analyzes a recorded kernel for the printers: which values are printed where they are used. */
import type { Kernel, Operand, Statement, Value } from './language.ts';

export interface Analysis {
  /** Definitions that are printed where they are used. */
  readonly inline: readonly (Statement | undefined)[];
  /** Vectors whose parts are all equal, so that one part is enough. */
  readonly uniform: Uint8Array;
  /** How often each value is used. */
  readonly uses: Int32Array;
}

/** Calls `each` for all statements, also those in loops and branches. */
export function forEachStatement(block: readonly Statement[], each: (statement: Statement) => void): void {
  for (const statement of block) {
    each(statement);
    if (statement.kind === 'loop') forEachStatement(statement.body, each);
    if (statement.kind === 'if') {
      forEachStatement(statement.yes, each);
      forEachStatement(statement.no, each);
    }
  }
}

/**
 * Finds which values change, how often each is used, and where each is defined. `partsOf` returns the number of parts in
 * which a printer handles a value; a scalar operand of such a value is printed once for each part.
 */
export function analyse(kernel: Kernel, partsOf: (value: Value) => number): Analysis {
  const uses = new Int32Array(kernel.valueCount);
  const changes = new Uint8Array(kernel.valueCount);
  const uniform = new Uint8Array(kernel.valueCount);
  const home = new Array<readonly Statement[] | undefined>(kernel.valueCount);
  const elsewhere = new Uint8Array(kernel.valueCount);
  const visit = (block: readonly Statement[]): void => {
    /** A value without parts is printed once for each part of its user. */
    const use = (operand: Operand, parts: number): void => {
      if (typeof operand === 'number') return;
      uses[operand.id]! += partsOf(operand) > 1 && !uniform[operand.id] ? 1 : parts;
      if (home[operand.id] !== block) elsewhere[operand.id] = 1;
    };
    for (const statement of block) {
      switch (statement.kind) {
        case 'define': {
          const { target, operator, operands } = statement;
          home[target.id] = block;
          if (operator === 'splat') uniform[target.id] = 1;
          const parts = operator === 'sum' || operator === 'splat' ? 1 : partsOf(target);
          for (const operand of operands) use(operand, parts);
          break;
        }
        case 'constant':
          home[statement.target.id] = block;
          if (statement.target.type === 'vector') uniform[statement.target.id] = 1;
          break;
        case 'load':
          if (statement.form === 'splat') uniform[statement.target.id] = 1;
          use(statement.pointer, /^(splat|bytes)$/.test(statement.form) ? 1 : partsOf(statement.target));
          break;
        case 'prefetch':
          use(statement.pointer, 1);
          break;
        case 'store':
          use(statement.pointer, partsOf(statement.value));
          use(statement.value, partsOf(statement.value));
          break;
        case 'storeBytes':
          use(statement.pointer, 1);
          use(statement.value, partsOf(statement.value));
          break;
        case 'scatter':
          use(statement.pointer, 1);
          for (let lane = 0; lane < statement.value.lanes; lane++) {
            use(statement.value, 1);
            use(statement.step, 1);
          }
          break;
        case 'assign':
          changes[statement.target.id] = 1;
          use(statement.value, partsOf(statement.target));
          break;
        case 'loop':
          changes[statement.counter.id] = 1;
          use(statement.count, 1);
          visit(statement.body);
          break;
        case 'if':
          use(statement.condition, 1);
          visit(statement.yes);
          visit(statement.no);
          break;
        default:
          statement satisfies never;
      }
    }
  };
  visit(kernel.body);
  const inline = new Array<Statement | undefined>(kernel.valueCount);
  forEachStatement(kernel.body, (statement) => {
    if (statement.kind === 'constant' && statement.target.type !== 'vector') {
      inline[statement.target.id] = statement;
    }
    if (statement.kind !== 'define' || statement.operator === 'sum') return;
    const id = statement.target.id;
    const steady = statement.operands.every((o) => typeof o === 'number' || !changes[o.id]);
    if (uses[id] === 1 && !elsewhere[id] && steady) inline[id] = statement;
  });
  return { inline, uniform, uses };
}
