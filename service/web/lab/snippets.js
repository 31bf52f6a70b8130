// The call of the page as a command or a program, with the same numbers.

import { copy, fill, h, refill, save } from "./dom.js";
import { keyGiven } from "./api.js";
import { asBytes, request } from "./body.js";
import { crossed, elements, tuple } from "./format.js";
import { GENERATED, readShape } from "./operand.js";
import { operandNames, wireFields } from "./operations.js";

const INLINE = 3000; // characters of a body in the text; a longer one is read from a file
const KINDS = [["curl", "curl"], ["httpx", "httpx"], ["fetch", "fetch"], ["torch", "torch"]];

/** The snippets in `root`; `update(state, tensors, plan)` updates them. */
export function snippetsView(root, store) {
  let kind = "curl";
  let latest = null;

  function update(state, tensors, plan) {
    latest = { state, tensors, plan };
    if (!tensors.every(Boolean)) {
      fill(root, h("p", { class: "note" }, "There is no call while an operand cannot be read."));
      return;
    }
    const { text, file } = { curl, httpx, fetch: javascript, torch }[kind](state, tensors, plan);
    const code = h("pre", { class: "snippet", tabindex: "0", "aria-label": `the call in ${kind}` }, h("code", {}, text));
    refill(
      root,
      h(
        "div",
        { class: "tabs", role: "group", "aria-label": "The same call as" },
        KINDS.map(([each, title]) => h("button", { type: "button", class: "tab", "aria-pressed": String(each === kind), "data-focus": each, on: { click: () => { kind = each; update(latest.state, latest.tensors, latest.plan); } } }, title)),
        h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(text, event.target) } }, "Copy"),
        file && h("button", { type: "button", class: "quiet-button", on: { click: () => save(new Blob([file.body()]), file.name) } }, `Save ${file.name}`),
        h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(location.href, event.target) } }, "Copy the link to this page"),
      ),
      code,
      keyGiven() && h("p", { class: "note" }, "This service needs a key: send it in the header X-API-Key."),
    );
  }

  return { update };
}

const base = () => new URL(".", document.baseURI).href;

/** The request, with its body as a file if it is long or binary. */
function sent(state, tensors) {
  // The body of large operands is made only when it is saved.
  const many = tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0) > 2000;
  if (!many && !asBytes(state, tensors)) {
    const short = request(state, tensors);
    if (short.body.length <= INLINE) return short;
  }
  const bytes = asBytes(state, tensors);
  const whole = () => request(state, tensors);
  const { path, headers } = bytes ? request(state, tensors.map((tensor) => ({ ...tensor, bytes: () => new Uint8Array() }))) : { path: state.op, headers: { "Content-Type": "application/json" } };
  return { path, headers, file: { name: `${state.op}.${bytes ? "safetensors" : "json"}`, body: () => whole().body } };
}

function curl(state, tensors) {
  const { path, headers, body, file } = sent(state, tensors);
  const type = headers["Content-Type"];
  const data = file ? `--data-binary @${file.name}` : `-d '${body.replaceAll("'", "'\\''")}'`;
  return { text: `curl -s '${base()}${path}' \\\n  -H 'Content-Type: ${type}' \\\n  ${data}\n`, file };
}

function javascript(state, tensors) {
  const { path, headers, body, file } = sent(state, tensors);
  const content = file ? `await readFile("${file.name}")` : JSON.stringify(body);
  const lines = [
    ...(file ? ['import { readFile } from "node:fs/promises";', ""] : []),
    `const response = await fetch("${base()}${path}", {`,
    '  method: "POST",',
    `  headers: { "Content-Type": "${headers["Content-Type"]}" },`,
    `  body: ${content},`,
    "});",
    "const { result, strategy, timing } = await response.json();",
    "console.log(result.data, strategy, timing.compute_ms);",
  ];
  return { text: `${lines.join("\n")}\n`, file };
}

/** Lines of Python that make the operands, by name, in the dtype of the call. */
function arrays(state, tensors) {
  const names = operandNames(state);
  return state.operands.map((operand, index) => {
    const tensor = tensors[index];
    const dtype = tensor.dtype ?? (state.dtype || "float32");
    const swap = operand.swapped ? ".swapaxes(-1, -2)" : "";
    if (operand.kind in GENERATED) return `${names[index]} = ${GENERATED[operand.kind].numpy(tuple(readShape(operand.shape)), operand.seed, dtype)}.astype(np.${numpyName(dtype)})${swap}`;
    if (operand.kind === "text" || elements(tensor.shape) <= 400) {
      const data = tensor.json().replace(/"(NaN|-?Infinity)"/g, (_, word) => ({ NaN: "np.nan", Infinity: "np.inf", "-Infinity": "-np.inf" })[word]).replaceAll("true", "True").replaceAll("false", "False");
      return `${names[index]} = np.array(${data}, np.${numpyName(dtype)})`;
    }
    return `${names[index]} = np.load("${operand.name}")  # ${crossed(tensor.shape)}`;
  });
}

function numpyName(dtype) {
  return { bfloat16: "float32", bool: "bool_" }[dtype] ?? dtype;
}

function httpx(state, tensors) {
  const names = operandNames(state);
  const fields = wireFields(state);
  const short = !tensors.some((tensor) => elements(tensor.shape) > 400);
  if (short) {
    const { body } = request({ ...state, body: "json" }, tensors);
    const text = body.replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
    return { text: ["import httpx", "", `body = ${text}`, `response = httpx.post("${base()}${state.op}", json=body)`, ...answered()].join("\n") };
  }
  const values = names.map((name) => `{"shape": ${name}.shape, "dtype": ${name}.dtype.name, "b64": b64encode(${name}.tobytes()).decode()}`);
  const operands = state.op === "matmul" || state.op === "norm" ? names.map((name, at) => `    "${name}": ${values[at]},`) : ["    \"operands\": [", ...values.map((value) => `        ${value},`), "    ],"];
  const more = Object.entries(fields).map(([name, value]) => `    "${name}": ${python(value)},`);
  const lines = ["from base64 import b64encode", "", "import httpx", "import numpy as np", "", ...arrays(state, tensors), "body = {", ...operands, ...more, "}", `response = httpx.post("${base()}${state.op}", json=body)`, ...answered()];
  return { text: lines.join("\n") };
}

function answered() {
  return ["response.raise_for_status()", "answer = response.json()", 'print(answer["result"]["data"], answer["strategy"], answer["timing"]["compute_ms"])', ""];
}

function python(value) {
  return JSON.stringify(value).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
}

function torch(state, tensors, plan) {
  if (!plan) return { text: "# The call is not valid yet: see the problem above.\n" };
  const cast = (name, tensor) => `${name} = torch.from_numpy(${name})${(tensor.dtype ?? state.dtype) === "bfloat16" ? ".bfloat16()" : ""}`;
  const lines = ["import numpy as np", "import torch", "", ...arrays(state, tensors), ...operandNames(state).map((name, index) => cast(name, tensors[index])), `print(${plan.reproduce})`, ""];
  return { text: lines.join("\n") };
}
