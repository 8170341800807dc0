/**
 * The walk over a recorded kernel that all printers share. A printer says how its language writes an operator, a number,
 * a load and so on; the walk visits the statements in order and nests values that are printed where they are used.
 */
import { type Analysis, analyse } from './analysis.ts';
import type { Kernel, Operand, Operator, Statement, StatementOf, Type, Value } from './language.ts';

/** A statement that gives no value its content. */
export type Effect = Exclude<Statement, StatementOf<'define' | 'constant' | 'load' | 'assign'>>;

/** Prints an operand; by default the part that is being printed. */
export type Print<Result> = (part?: number) => Result;

/** The type of a plain number among an operator's operands; by default that of its first operand. */
const numberTypes: Partial<Record<Operator, Type>> = { advance: 'offset', advanceBytes: 'i32', scale: 'i32' };

/** `Result` is what an expression becomes, `Form` how the language writes an operator. */
export abstract class Printer<Result, Form> {
  protected readonly kernel: Kernel;
  protected readonly analysis: Analysis;
  /** Name of the language, for messages. */
  protected abstract readonly language: string;

  /** `partsOf` returns the number of parts in which a value is printed. */
  constructor(kernel: Kernel, partsOf: (value: Value) => number) {
    this.kernel = kernel;
    this.analysis = analyse(kernel, partsOf);
  }

  protected abstract formOf(operator: Operator, type: Type): Form | undefined;
  protected abstract apply(
    form: Form,
    operands: readonly Print<Result>[],
    definition: StatementOf<'define'>,
    part: number,
  ): Result;
  protected abstract number(type: Type, value: number): Result;
  /** A value that has a name of its own. */
  protected abstract read(value: Value, part: number): Result;
  protected abstract load(statement: StatementOf<'load'>, part: number): Result;
  /** Gives a value its content. */
  protected abstract set(target: Value, content: (part: number) => Result, changes: boolean): void;
  /** Gives a vector one number in every lane. */
  protected abstract setConstant(target: Value, value: number): void;
  protected abstract perform(statement: Effect): void;

  protected expression(value: Value, part = 0): Result {
    const definition = this.analysis.inline[value.id];
    if (definition?.kind === 'constant') return this.number(value.type, definition.value);
    return definition?.kind === 'define' ? this.#operation(definition, part) : this.read(value, part);
  }

  #operation(definition: StatementOf<'define'>, part: number): Result {
    const { operator, target, operands } = definition;
    const { type } = operands[0] as Value;
    const form = this.formOf(operator, type);
    if (form === undefined) {
      const place = `kernel ${this.kernel.name}, value ${target.id}`;
      throw new TypeError(`${this.language}: no ${operator} of ${type} (${place})`);
    }
    const print = (operand: Operand): Print<Result> =>
      typeof operand === 'number'
        ? () => this.number(numberTypes[operator] ?? type, operand)
        : (own = part) => this.expression(operand, own);
    return this.apply(form, operands.map(print), definition, part);
  }

  protected block(statements: readonly Statement[]): void {
    const { inline } = this.analysis;
    for (const statement of statements) {
      switch (statement.kind) {
        case 'define':
          if (inline[statement.target.id]) break;
          this.set(statement.target, (part) => this.#operation(statement, part), false);
          break;
        case 'constant':
          if (!inline[statement.target.id]) this.setConstant(statement.target, statement.value);
          break;
        case 'load':
          this.set(statement.target, (part) => this.load(statement, part), false);
          break;
        case 'assign':
          this.set(statement.target, (part) => this.expression(statement.value, part), true);
          break;
        default:
          this.perform(statement);
      }
    }
  }
}
