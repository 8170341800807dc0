/** Creates and finds elements. Texts are never parsed as markup. */

/** The element with this id. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T | undefined {
  const element = document.getElementById(id);
  return element instanceof type ? element : undefined;
}

/** A new element with attributes and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // Inline styles are set one property at a time, since the policy may forbid the attribute.
    if (name.startsWith('--')) element.style.setProperty(name, String(value));
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}
