// The fields of a call besides its operands: those of its operation, and those of every call.

import { choice, field, fill, h } from "./dom.js";
import { DTYPES, FIELDS } from "./operations.js";

const PRECISIONS = { ieee: "ieee, all 24 bits", tf32: "tf32, 11 bits", bf16x3: "bf16x3, about 16 bits" };
const BODIES = [["auto", "JSON, bytes when large"], ["json", "JSON"], ["bytes", "bytes"]];

/** The precisions that a strategy and a device here have for products of the operation. */
function precisionsHere({ strategies }, devices) {
  const found = strategies.filter(({ available }) => available).flatMap(({ precisions }) => precisions);
  return [...new Set(found)].filter((each) => devices.some(({ precisions }) => precisions.includes(each)));
}

/** The fields of arithmetic that mean something here, or that a link has set, with their choices. */
function arithmetic(state, info, devices) {
  const precisions = precisionsHere(info, devices);
  return [
    (precisions.length > 1 || state.precision !== "ieee") && ["precision", precisions.map((each) => [each, PRECISIONS[each] ?? each])],
    (devices.some(({ kind }) => kind !== "cpu") || state.deterministic !== "false") && ["deterministic", ["false", "true"]],
  ].filter(Boolean);
}

/** The fields of the operation in `ownRoot` and those of every call in `root`; `update` updates them. */
export function callForm(ownRoot, root, store) {
  let key = null;
  let controls = {};

  function build(state, info, devices) {
    const own = (FIELDS[state.op] ?? []).map((each) => {
      const control = each.choices
        ? choice(each.name, each.choices, state.params[each.name], (value) => store.setParam(each.name, value))
        : h("input", { class: each.wide ? "wide" : "short", spellcheck: "false", autocomplete: "off", autocapitalize: "off", placeholder: each.note ?? null, on: { input: (event) => store.setParam(each.name, event.target.value) } });
      controls[each.name] = [control, () => store.state.params[each.name]];
      return field(each.name, control);
    });
    const common = [
      ["strategy", ["auto", ...info.strategies.map((each) => each.name)]],
      devices.length > 1 && ["device", ["auto", ...devices.map((each) => each.name)]],
      ["dtype", [["", "float32, or as stated"], ...DTYPES]],
      ...arithmetic(state, info, devices),
      ["body", BODIES],
    ].filter(Boolean).map(([name, choices]) => {
      const control = choice(name, choices, state[name], (value) => store.set({ [name]: value }));
      controls[name] = [control, () => store.state[name]];
      return field(name === "body" ? "sent as" : name, control, name);
    });
    fill(ownRoot, own);
    fill(root, common, devices.length > 1 ? null : h("div", { class: "place", "data-place": "/device" }));
  }

  function update(state, info, devices) {
    // A field that a link has shown stays when its value is changed back.
    if (key !== state.op || arithmetic(state, info, devices).some(([name]) => !(name in controls))) {
      key = state.op;
      controls = {};
      build(state, info, devices);
    }
    for (const [control, value] of Object.values(controls)) {
      if (control.value !== value()) offer(control, value());
    }
  }

  return { update };
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
export function raceFields({ strategies, repeat, budget_ms, baseline, rtol, atol }) {
  const number = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text));
  return {
    ...(strategies ? { strategies } : {}),
    ...(baseline ? { baseline } : {}),
    repeat: number(repeat),
    budget_ms: number(budget_ms),
    rtol: number(rtol),
    atol: number(atol),
  };
}
