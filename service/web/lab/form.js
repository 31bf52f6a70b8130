// The fields of a call besides its operands: those of its operation, and those of every call.

import { choice, field, fill, h, refill } from "./dom.js";
import { DTYPES, FIELDS } from "./operations.js";

const PRECISIONS = { ieee: "ieee, all 24 bits", tf32: "tf32, 11 bits", bf16x3: "bf16x3, about 16 bits" };
const BODIES = [["auto", "JSON, bytes when large"], ["json", "JSON"], ["bytes", "bytes"]];

/** The precisions that a strategy and a device here have for products of the operation. */
function precisionsHere({ strategies }, devices) {
  const found = strategies.filter(({ available }) => available).flatMap(({ precisions }) => precisions);
  return [...new Set(found)].filter((each) => devices.some(({ precisions }) => precisions.includes(each)));
}

/** The fields of every call and of its arithmetic that mean something here, or that a link has set, with their choices. */
function commonFields(state, info, devices) {
  const precisions = precisionsHere(info, devices);
  const hasChoice = precisions.length > 1;
  return [
    ["strategy", ["auto", ...info.strategies.map((each) => each.name)]],
    devices.length > 1 && ["device", ["auto", ...devices.map((each) => each.name)]],
    ["dtype", [["", "float32, or as stated"], ...DTYPES]],
    (hasChoice || state.precision !== "ieee") && ["precision", precisions.map((each) => [each, PRECISIONS[each] ?? each])],
    (hasChoice || state.race.precisions) && ["precisions", [...new Set([...precisions, ...(state.race.precisions ?? [])])]],
    (devices.some(({ kind }) => kind !== "cpu") || state.deterministic !== "false") && ["deterministic", ["false", "true"]],
    ["body", BODIES],
  ].filter(Boolean);
}

/** The fields of the operation in `ownRoot` and those of every call in `root`; `update` updates them. */
export function callForm(ownRoot, root, store) {
  let op = null;
  let offered = new Map(); // the choices of each field of every call
  let own = [];
  let common = [];

  function ownField({ name, choices, wide, note }) {
    const value = () => store.state.params[name];
    const set = (next) => store.setParam(name, next);
    if (choices) return entry(name, name, choice(name, choices, value(), set), value);
    const input = h("input", { class: wide ? "wide" : "short", spellcheck: "false", autocomplete: "off", autocapitalize: "off", placeholder: note ?? null, on: { input: (event) => set(event.target.value) } });
    return entry(name, name, input, value);
  }

  function commonField([name, choices]) {
    if (name === "precisions") return racedIn(choices, store);
    const control = choice(name, choices, store.state[name], (value) => store.set({ [name]: value }));
    control.dataset.focus = name;
    return entry(name === "body" ? "sent as" : name, name, control, () => store.state[name]);
  }

  function update(state, info, devices) {
    const isOther = op !== state.op;
    op = state.op;
    if (isOther) {
      own = (FIELDS[op] ?? []).map(ownField);
      fill(ownRoot, own.map(({ element }) => element));
    }
    // A field that a link has shown stays when its value is changed back.
    const fields = commonFields(state, info, devices);
    if (isOther || fields.some(([name, choices]) => offered.get(name) !== String(choices))) {
      offered = new Map(fields.map(([name, choices]) => [name, String(choices)]));
      common = fields.map(commonField);
      refill(root, common.map(({ element }) => element), devices.length > 1 ? null : h("div", { class: "place", "data-place": "/device" }));
    }
    for (const { show } of [...own, ...common]) show();
  }

  return { update };
}

/** A field with its control; `show` shows the present value. */
function entry(title, name, control, value) {
  return { element: field(title, control, name), show: () => control.value === value() || offer(control, value()) };
}

/** A field of boxes for the precisions of a race, which are that of the call unless others are chosen. */
function racedIn(precisions, store) {
  const boxes = precisions.map((name) => h("input", { type: "checkbox", value: name, "data-focus": `race in ${name}`, on: { change: take } }));

  function take() {
    const chosen = boxes.filter(({ checked }) => checked).map(({ value }) => value);
    const isOwn = chosen.every((name) => name === store.state.precision);
    store.set({ race: { ...store.state.race, precisions: isOwn ? null : chosen } });
  }

  function show() {
    const chosen = store.state.race.precisions ?? [store.state.precision];
    for (const box of boxes) box.checked = chosen.includes(box.value);
  }

  const element = h(
    "div",
    { class: "field", role: "group", "aria-label": "precisions of a race" },
    h("span", { class: "field-name" }, "race in"),
    h("div", { class: "boxes" }, boxes.map((box) => h("label", {}, box, box.value))),
    h("div", { class: "place", "data-place": "/precisions" }),
  );
  return { element, show };
}

/** Shows a value, including one of a link that is not among the choices: the service reports the error. */
function offer(control, value) {
  if (control.tagName === "SELECT" && ![...control.options].some((option) => option.value === value)) {
    const option = h("option", {}, value);
    option.value = value;
    control.append(option);
  }
  control.value = value;
}

/** The fields of a race in `root`: repeats, time, tolerances and baseline. */
export function raceForm(root, store) {
  const set = (name) => (value) => store.set({ race: { ...store.state.race, [name]: value } });
  const inputs = Object.fromEntries(
    ["repeat", "budget_ms", "rtol", "atol"].map((name) => [name, h("input", { class: "short", inputmode: "decimal", on: { change: (event) => set(name)(event.target.value.trim()) } })]),
  );
  const baseline = h("select", { on: { change: (event) => set("baseline")(event.target.value) } });
  fill(root, Object.entries(inputs).map(([name, input]) => field(name, input)), field("baseline", baseline));
  return {
    update: (state, info) => {
      for (const [name, input] of Object.entries(inputs)) if (document.activeElement !== input) input.value = state.race[name];
      fill(baseline, [["", "the slowest"], ...info.strategies.map((each) => [each.name, each.name])].map(([value, text]) => {
        const option = h("option", {}, text);
        option.value = value;
        option.selected = value === state.race.baseline;
        return option;
      }));
    },
  };
}

/** The fields of a race for the request. */
export function raceFields({ strategies, precisions, repeat, budget_ms, baseline, rtol, atol }) {
  const number = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text));
  return {
    ...(strategies ? { strategies } : {}),
    ...(precisions ? { precisions } : {}),
    ...(baseline ? { baseline } : {}),
    repeat: number(repeat),
    budget_ms: number(budget_ms),
    rtol: number(rtol),
    atol: number(atol),
  };
}
