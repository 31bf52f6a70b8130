// Functions that build elements of the page. Text never becomes markup.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open"]);

/**
 * An element with its attributes and children.
 * `on` has the listeners; null or false omits an attribute, true sets it empty;
 * `class`, `data-*`, `aria-*` and all others are attributes; `value`, `checked` and `disabled` are properties.
 * @param {string} tag @param {object} [attributes] @param {...(Node|string|number|null|false)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...present(children));
  return element;
}

/** Flat list of children without null, false and undefined, which conditions leave. */
function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== false && child !== undefined);
}

/** Replaces the children of `element` by `children`. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Like `fill`; a focus inside moves to the new element with the same `data-focus`, or to the first control. */
export function refill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.focus ?? "" : null;
  fill(element, ...children);
  if (focused === null) return element;
  const next = element.querySelector(`[data-focus="${CSS.escape(focused)}"]`) ?? element.querySelector("button, input, select, textarea");
  next?.focus({ preventScroll: true });
  return element;
}

/** A `select` of choices; each is a string, or a pair of value and text. */
export function choice(label, choices, value, change) {
  const pairs = choices.map((each) => (Array.isArray(each) ? each : [each, each]));
  return h(
    "select",
    { "aria-label": label, on: { change: (event) => change(event.target.value) } },
    pairs.map(([key, text]) => {
      const option = h("option", {}, text);
      option.value = key;
      option.selected = key === value;
      return option;
    }),
  );
}

/** A labelled field: its name, the control, and the place for its problem. */
export function field(name, control, key = name) {
  control.setAttribute("aria-label", name); // the text of the label would include that of all options
  return h(
    "div",
    { class: "field" },
    h("label", {}, h("span", { class: "field-name" }, name), control),
    h("div", { class: "place", "data-place": `/${key}` }),
  );
}

/** Saves `blob` under `name`. */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** Copies text, and confirms it on the button for a moment. */
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser refused";
  }
  setTimeout(() => (button.textContent = before), 1200);
}
