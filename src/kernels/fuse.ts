/**
 * Contracts products and sums of vectors into fused multiply-adds, as C compilers do: x + a · b is one instruction and
 * rounded once. A product is removed if all its uses are such sums.
 */
import { forEachStatement } from './analysis.ts';
import type { Kernel, Operand, Statement, StatementOf, Value } from './language.ts';

type Definition = StatementOf<'define'>;

const isVector = (operand: Operand | undefined): operand is Value =>
  typeof operand === 'object' && operand.type === 'vector';

/** The values that a statement reads. */
function operandsOf(statement: Statement): readonly Operand[] {
  switch (statement.kind) {
    case 'define':
      return statement.operands;
    case 'constant':
      return [];
    case 'load':
    case 'prefetch':
      return [statement.pointer];
    case 'store':
    case 'storeBytes':
      return [statement.value, statement.pointer];
    case 'scatter':
      return [statement.value, statement.pointer, statement.step];
    case 'assign':
      return [statement.value];
    case 'loop':
      return [statement.count];
    case 'if':
      return [statement.condition];
  }
}

/** Operands that may be a product: either one of a sum, the second one of a difference. The other one is a vector, too. */
const placesOf = ({ operator, operands }: Definition): readonly number[] =>
  (operator === 'add' ? [1, 0] : operator === 'sub' ? [1] : []).filter((place) =>
    isVector(operands[1 - place]),
  );

/** Returns the kernel with products and sums of vectors contracted. */
export function fuseMultiplyAdds(kernel: Kernel): Kernel {
  const products = new Map<number, Definition>();
  const changing = new Set<number>();
  forEachStatement(kernel.body, (statement) => {
    if (statement.kind === 'assign') changing.add(statement.target.id);
    if (statement.kind !== 'define' || statement.operator !== 'mul' || !isVector(statement.target)) return;
    products.set(statement.target.id, statement);
  });
  // A product's operands are read at its sum, so they must not change before.
  for (const [id, { operands }] of products) {
    if (operands.some((operand) => typeof operand === 'object' && changing.has(operand.id)))
      products.delete(id);
  }
  const isProduct = (operand: Operand | undefined): boolean =>
    typeof operand === 'object' && products.has(operand.id);
  /** Indices of a statement's operands that are products. */
  const productsIn = (statement: Statement): number[] =>
    statement.kind !== 'define'
      ? []
      : placesOf(statement).filter((place) => isProduct(statement.operands[place]));
  // A product with any other use stays, and so does the first of two products in a sum.
  forEachStatement(kernel.body, (statement) => {
    const places = statement.kind === 'define' ? placesOf(statement) : [];
    operandsOf(statement).forEach((operand, place) => {
      if (typeof operand === 'object' && !places.includes(place)) products.delete(operand.id);
    });
  });
  forEachStatement(kernel.body, (statement) => {
    const [, first] = productsIn(statement);
    if (first !== undefined) products.delete(((statement as Definition).operands[first] as Value).id);
  });
  const rewrite = (block: readonly Statement[]): Statement[] =>
    block.flatMap((statement): Statement[] => {
      if (statement.kind === 'loop') return [{ ...statement, body: rewrite(statement.body) }];
      if (statement.kind === 'if') {
        return [{ ...statement, yes: rewrite(statement.yes), no: rewrite(statement.no) }];
      }
      if (statement.kind !== 'define') return [statement];
      if (products.has(statement.target.id)) return [];
      const [taken] = productsIn(statement);
      if (taken === undefined) return [statement];
      const { target, operator, operands } = statement;
      const product = products.get((operands[taken] as Value).id)!;
      const rest = operands[1 - taken]!;
      return [
        {
          kind: 'define',
          target,
          operator: operator === 'add' ? 'multiplyAdd' : 'multiplySubtract',
          operands: [rest, ...product.operands],
        },
      ];
    });
  return { ...kernel, body: rewrite(kernel.body) };
}
