// Elements of the page, made by hand: no text becomes markup anywhere.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open"]);

/**
 * An element with its attributes and children.
 * `on` holds listeners; a value of null or false leaves an attribute out, true sets it empty;
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

/** What is there of nested children: a condition that did not hold leaves null, false or undefined. */
function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== false && child !== undefined);
}

/** Puts `children` where the children of `element` were. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** As `fill`; if the focus was inside, it goes to what has the same `data-focus` now, or to the first control. */
export function refill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.focus ?? "" : null;
  fill(element, ...children);
  if (focused === null) return element;
  const next = element.querySelector(`[data-focus="${CSS.escape(focused)}"]`) ?? element.querySelector("button, input, select, textarea");
  next?.focus({ preventScroll: true });
  return element;
}

/** A `select` of these choices; each is a word, or a pair of value and text. */
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

/** A labelled field: its name, the control, and the place for what is wrong with it. */
export function field(name, control, key = name) {
  control.setAttribute("aria-label", name); // the label's text would hold that of all options
  return h(
    "div",
    { class: "field" },
    h("label", {}, h("span", { class: "field-name" }, name), control),
    h("div", { class: "place", "data-place": `/${key}` }),
  );
}

/** Offers `blob` to be saved under `name`. */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** Copies text, and says so on the button for a moment. */
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
