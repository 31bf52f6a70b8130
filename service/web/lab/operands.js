// The operands of the call: a card for each, to type, generate or load a tensor.

import { shapeMark } from "./axes.js";
import { choice, fill, h, refill } from "./dom.js";
import { dtypesOf } from "./body.js";
import { crossed, elements } from "./format.js";
import { heatMap } from "./heat.js";
import { readNpy } from "./npy.js";
import { GENERATED, generated, long, readShape, spelled, stored, transposedOperand, typed } from "./operand.js";
import { operandNames, operandPointer, operandRange, sign } from "./operations.js";

const EDITABLE = 20_000; // characters up to which a text area is fast and a link is short
const PREVIEWED = 2 ** 21; // most elements that are generated for a preview

/** The row of cards in `root`; `update(state, tensors, letters)` updates them. */
export function operandCards(root, store) {
  let cards = [];

  function update(state, tensors, letters) {
    const wanted = state.operands.map((operand, index) => `${state.op}${index}${kindOf(operand)}${state.operands.length}`);
    if (wanted.join() !== cards.map((card) => card.key).join()) {
      cards = state.operands.map((operand, index) => makeCard(operand, index, wanted[index], store));
      const [least, most] = operandRange(state.op);
      refill(
        root,
        cards.map((card, index) => [index > 0 && h("span", { class: "sign", "aria-hidden": "true" }), card.root]),
        most > least && state.operands.length < most && h("button", { type: "button", class: "quiet-button add", "data-focus": "add", on: { click: () => store.set({ operands: [...store.state.operands, typed("1 2 3")] }, { visit: true }) } }, "+ operand"),
      );
    }
    for (const mark of root.querySelectorAll(".sign")) mark.textContent = sign(state);
    const dtypes = dtypesOf(state, tensors);
    cards.forEach((card, index) => card.update(state, state.operands[index], tensors[index], letters, dtypes[index]));
  }

  return { update };
}

function kindOf(operand) {
  return operand.kind in GENERATED ? "generated" : operand.kind === "text" ? "text" : "bytes";
}

function makeCard(first, index, key, store) {
  const name = operandNames(store.state)[index];
  const kind = kindOf(first);
  const shape = h("output", { class: "card-shape" });
  const preview = h("div", { class: "preview" });
  const reading = h("p", { class: "reading", id: `reading-${index}` });
  const note = h("p", { class: "note" });
  const file = h("input", { type: "file", tabindex: "-1", accept: ".npy,.csv,.tsv,.txt", class: "visually-hidden", "aria-label": `file for ${name}`, on: { change: () => file.files[0] && load(file.files[0]) } });
  const editor = { text: textEditor, generated: generator, bytes: fileNote }[kind](name, index, store);
  const view = store.state.op === "broadcast" ? viewField(name, index, store) : null;
  const kinds = [["text", "Type"], ["generated", "Generate"], ["bytes", "File"]];
  const card = h(
    "fieldset",
    { class: "card", "data-operand": index, on: { dragover: (event) => event.preventDefault(), drop: dropped } },
    h("legend", {}, h("span", { class: "card-name" }, name), " ", shape),
    h(
      "div",
      { class: "card-tools" },
      kinds.map(([each, title]) => h("button", { type: "button", class: "tab", "aria-pressed": String(each === kind), "data-focus": `${index} ${each}`, on: { click: () => become(each) } }, title)),
      h("button", { type: "button", class: "tool", title: `transpose ${name}`, "aria-label": `transpose ${name}`, on: { click: transpose } }, "T"),
      store.state.operands.length > operandRange(store.state.op)[0] && h("button", { type: "button", class: "tool", title: `remove ${name}`, "aria-label": `remove ${name}`, "data-focus": `${index} remove`, on: { click: remove } }, "×"),
      file,
    ),
    h("div", { class: "card-body" }, editor.root, preview),
    reading,
    view && view.root,
    note,
    h("div", { class: "place", "data-place": operandPointer(store.state, index) }),
  );
  let drawn = null;

  function update(state, operand, tensor, letters, dtype) {
    editor.update(operand);
    view?.update(state.views[index] ?? "");
    reading.textContent = sentence(tensor?.said ?? []);
    if (!tensor) {
      fill(shape, "");
      if (drawn !== null) fill(preview);
      drawn = null;
      return;
    }
    fill(shape, shapeMark(tensor.shape, letters.operands[index] ?? [], state.op === "broadcast" ? [] : letters.summed), " ", h("span", { class: "dtype" }, dtype));
    if (drawn?.tensor !== tensor) {
      const size = elements(tensor.shape);
      fill(preview, size > 1 && size <= PREVIEWED && heatMap({ shape: tensor.shape, values: tensor.values(), small: true, name }));
      note.textContent = size > PREVIEWED ? "Too large for a preview; it is generated when it is sent." : "";
    }
    drawn = { tensor };
  }

  function become(wanted) {
    if (wanted === "bytes") file.click();
    else if (wanted === "generated" && kind !== "generated") store.setOperand(index, generated("random", shapeNow() ?? [4, 4], index));
    else if (wanted === "text" && kind !== "text") store.setOperand(index, asText());
  }

  function shapeNow() {
    return drawn?.tensor.shape ?? null;
  }

  /** The operand as text to edit, if it is small enough. */
  function asText() {
    const tensor = drawn?.tensor;
    return !tensor || elements(tensor.shape) > 2048 ? typed("1 2\n3 4") : spelled(tensor, store.state.dtype);
  }

  function transpose() {
    const operand = transposedOperand(store.state.operands[index]);
    if (operand) store.setOperand(index, operand);
    else note.textContent = "Only an operand with two axes or more can be transposed.";
  }

  function remove() {
    const { operands, views } = store.state;
    store.set({ operands: operands.toSpliced(index, 1), views: views.toSpliced(index, 1) }, { visit: true });
  }

  async function dropped(event) {
    event.preventDefault();
    if (event.dataTransfer.files[0]) await load(event.dataTransfer.files[0]);
  }

  async function load(chosen) {
    try {
      store.setOperand(index, await readFile(chosen));
    } catch (error) {
      note.textContent = `${chosen.name}: ${error.message}.`;
    }
    file.value = "";
  }

  return { key, root: card, update };
}

function sentence(words) {
  const text = words.join("; ");
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** The operand of a file: bytes of an npy file, or rows of numbers of a text file. */
async function readFile(file) {
  if (/\.npy$/i.test(file.name)) {
    const { shape, dtype: own, bytes } = readNpy(await file.arrayBuffer());
    return stored(file.name, own, shape, bytes);
  }
  return fromText(decoded(await file.arrayBuffer()), file.name);
}

/** The text of a file: UTF-16 if it begins with its mark, as spreadsheets may write it, else UTF-8. */
function decoded(buffer) {
  const [first, second] = new Uint8Array(buffer);
  const coding = first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
  return new TextDecoder(coding).decode(buffer);
}

/** The operand of a text, which can be edited if it is short. */
function fromText(text, name) {
  return text.length <= EDITABLE ? typed(text.replace(/\r\n?/g, "\n").replace(/\n+$/, "")) : long(name, text);
}

function textEditor(name, index, store) {
  const area = h("textarea", { "aria-label": `numbers of ${name}`, "aria-describedby": `reading-${index}`, spellcheck: "false", autocomplete: "off", autocapitalize: "off", on: { input: () => store.setOperand(index, typed(area.value)), paste: pasted } });
  function pasted(event) {
    const text = event.clipboardData.getData("text");
    if (text.length <= EDITABLE) return;
    event.preventDefault();
    store.setOperand(index, long("pasted", text));
  }
  return {
    root: area,
    update: (operand) => {
      if (area.value !== operand.text) area.value = operand.text;
      const lines = operand.text.split("\n");
      area.rows = Math.min(10, Math.max(3, lines.length));
      area.cols = Math.min(36, Math.max(9, ...lines.map((line) => line.length + 2)));
    },
  };
}

function generator(name, index, store) {
  const change = (changes) => store.setOperand(index, { ...store.state.operands[index], ...changes });
  const kind = choice(`numbers of ${name}`, Object.entries(GENERATED).map(([each, { title }]) => [each, title]), "", (value) => change({ kind: value }));
  const shape = h("input", { class: "short", "aria-label": `shape of ${name}`, spellcheck: "false", on: { input: () => change({ shape: readShape(shape.value) ? crossed(readShape(shape.value)) : shape.value, swapped: false }) } });
  const seed = h("input", { class: "seed", "aria-label": `seed of ${name}`, inputmode: "numeric", on: { input: () => change({ seed: seed.value.trim() }) } });
  const seeded = h("label", {}, h("span", { class: "note" }, "seed "), seed);
  const flipped = h("span", { class: "note" });
  return {
    root: h("div", { class: "generator" }, kind, h("label", {}, h("span", { class: "note" }, "shape "), shape), seeded, flipped),
    update: (operand) => {
      kind.value = operand.kind;
      if (document.activeElement !== shape) shape.value = operand.shape;
      if (document.activeElement !== seed) seed.value = operand.seed;
      seeded.hidden = operand.kind === "count";
      flipped.textContent = operand.swapped ? "transposed" : "";
    },
  };
}

function fileNote(name, index, store) {
  const words = h("p", { class: "file-name" });
  return { root: words, update: (operand) => (words.textContent = operand.name) };
}

function viewField(name, index, store) {
  const input = h("input", { class: "short", "aria-label": `view of ${name}`, placeholder: "...", spellcheck: "false", on: { input: () => store.set({ views: store.state.operands.map((_, i) => (i === index ? input.value : store.state.views[i] ?? "")) }) } });
  return {
    root: h("div", { class: "view" }, h("label", {}, h("span", { class: "note" }, `${name}[`), input, h("span", { class: "note" }, "] of :, None and ...")), h("div", { class: "place", "data-place": `/views/${index}` })),
    update: (text) => document.activeElement !== input && (input.value = text),
  };
}
