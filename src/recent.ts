/** A map that keeps the entries used last, up to a number of them. */
export class Recent<Value> {
  readonly #most: number;
  /** The entry used last is at the end. */
  readonly #entries = new Map<string, Value>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of a key; `make` makes a missing one. */
  get(key: string, make: () => Value): Value {
    const value = this.#entries.has(key) ? this.#entries.get(key)! : make();
    this.#entries.delete(key);
    this.#entries.set(key, value);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > this.#most) this.#entries.delete(oldest!);
    return value;
  }

  clear(): void {
    this.#entries.clear();
  }
}
