// The call of the page as a command or a program, with the same numbers.

import { copy, fill, h, refill, save } from "./dom.js";
import { keyGiven } from "./api.js";
import { asBytes, dtypesOf, request } from "./body.js";
import { raceFields } from "./form.js";
import { elements, tuple } from "./format.js";
import { DTYPES, promote, writeNpy } from "./npy.js";
import { GENERATED, readShape } from "./operand.js";
import { operandNames, wireFields } from "./operations.js";
import { base, embedCode, isEmbeddable, pageLink } from "./share.js";

const INLINE = 3000; // characters of a body in the text; a longer one is read from a file
const LISTED = 400; // elements of an operand in the text; more are read from a file, unless they were typed
const KINDS = [["curl", "curl"], ["httpx", "httpx"], ["fetch", "fetch"], ["torch", "torch"], ["race", "curl of a race"]];

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
    const { text, files = [] } = snippet(kind, state, tensors, plan);
    const code = h("pre", { class: "snippet", tabindex: "0", "aria-label": `the call in ${kind}` }, h("code", {}, text));
    refill(
      root,
      h(
        "div",
        { class: "tabs", role: "group", "aria-label": "The same call as" },
        KINDS.map(([each, title]) => h("button", { type: "button", class: "tab", "aria-pressed": String(each === kind), "data-focus": each, on: { click: () => { kind = each; update(latest.state, latest.tensors, latest.plan); } } }, title)),
        h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(text, event.target) } }, "Copy"),
        files.map((file) => h("button", { type: "button", class: "quiet-button", on: { click: () => save(new Blob([file.body()]), file.name) } }, `Save ${file.name}`)),
        h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(pageLink(), event.target) } }, "Copy the link to this page"),
        isEmbeddable() && h("button", { type: "button", class: "quiet-button", on: { click: (event) => copy(embedCode(state), event.target) } }, "Copy the embed code"),
      ),
      code,
      keyGiven() && h("p", { class: "note" }, "This service needs a key: send it in the header X-API-Key."),
    );
  }

  return { update };
}

/** The call of a state as `{text, files}`; `files` have the names in the text, and functions that make them. */
export function snippet(kind, state, tensors, plan) {
  return { curl, httpx, fetch: javascript, torch, race }[kind](state, tensors, plan);
}

/** The request, with its body as a file if it is long or binary; `of` are the suffix and more fields, as of a race. */
function sent(state, tensors, ...of) {
  // The body of large operands is made only when it is saved.
  const many = tensors.reduce((sum, tensor) => sum + elements(tensor.shape), 0) > 2000;
  if (!many && !asBytes(state, tensors)) {
    const short = request(state, tensors, ...of);
    if (short.body.length <= INLINE) return short;
  }
  const bytes = asBytes(state, tensors);
  const whole = () => request(state, tensors, ...of);
  const { path, headers } = bytes ? request(state, tensors.map((tensor) => ({ ...tensor, bytes: () => new Uint8Array() })), ...of) : { path: state.op + (of[0] ?? ""), headers: { "Content-Type": "application/json" } };
  return { path, headers, file: { name: `${state.op}.${bytes ? "safetensors" : "json"}`, body: () => whole().body } };
}

function race(state, tensors) {
  return curl(state, tensors, null, "/compare", raceFields(state.race));
}

function curl(state, tensors, plan, ...of) {
  const { path, headers, body, file } = sent(state, tensors, ...of);
  const type = headers["Content-Type"];
  const data = file ? `--data-binary @${file.name}` : `-d '${body.replaceAll("'", "'\\''")}'`;
  return { text: `curl -s '${base()}${path}' \\\n  -H 'Content-Type: ${type}' \\\n  ${data}\n`, files: file && [file] };
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
  return { text: `${lines.join("\n")}\n`, files: file && [file] };
}

/** Lines of Python that make the operands as numpy arrays, and the files that they read. */
function arrays(state, tensors) {
  const names = operandNames(state);
  const dtypes = dtypesOf(state, tensors);
  const files = [];
  const lines = state.operands.map((operand, index) => {
    const [name, tensor, dtype] = [names[index], tensors[index], dtypes[index]];
    const kind = `np.${numpyName(dtype)}`;
    if (operand.kind in GENERATED) {
      const swap = operand.swapped ? ".swapaxes(-1, -2)" : "";
      return `${name} = ${GENERATED[operand.kind].numpy(tuple(readShape(operand.shape)), operand.seed, dtype)}.astype(${kind})${swap}`;
    }
    const size = elements(tensor.shape);
    if (size === 0) return `${name} = np.zeros(${tuple(tensor.shape)}, ${kind})`;
    if (operand.kind === "text" || size <= LISTED) {
      const listed = listOf(tensor.json());
      // Complex numbers are pairs in JSON: the last axis is real and imaginary parts.
      return DTYPES[dtype]?.pairs ? `${name} = np.array(${listed}, np.${dtype === "complex64" ? "float32" : "float64"}).view(${kind})[..., 0]` : `${name} = np.array(${listed}, ${kind})`;
    }
    files.push({ name: `${name}.npy`, body: () => npyOf(tensor, dtype) });
    return `${name} = np.load("${name}.npy").astype(${kind})`;
  });
  return { lines, files };
}

/** A JSON array as a list of Python. */
function listOf(json) {
  const words = { '"NaN"': "np.nan", '"Infinity"': "np.inf", '"-Infinity"': "-np.inf", true: "True", false: "False" };
  return json.replace(/"[^"]*"|true|false/g, (word) => words[word] ?? word.slice(1, -1));
}

/** An npy file of a tensor; float64 has all numbers of the short dtypes that JavaScript or npy have not. */
function npyOf(tensor, dtype) {
  if (!["float16", "bfloat16"].includes(dtype)) return writeNpy(tensor.shape, dtype, tensor.bytes(dtype));
  return writeNpy(tensor.shape, "float64", new Uint8Array(Float64Array.from(tensor.values()).buffer));
}

function numpyName(dtype) {
  return { bfloat16: "float32", bool: "bool_" }[dtype] ?? dtype;
}

function httpx(state, tensors) {
  const url = `${base()}${state.op}`;
  if (tensors.every((tensor) => elements(tensor.shape) <= LISTED)) {
    const { body } = request({ ...state, body: "json" }, tensors);
    const text = body.replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
    return { text: ["import httpx", "", `body = ${text}`, `response = httpx.post("${url}", json=body)`, ...answered()].join("\n") };
  }
  const { lines: made, files } = arrays(state, tensors);
  // numpy has no bfloat16, and texts are for the service to read.
  if (files.length > 0 || dtypesOf(state, tensors).includes("bfloat16") || state.operands.some(({ kind }) => kind === "text")) return posted(state, tensors);
  const names = operandNames(state);
  const values = names.map((name) => `{"shape": ${name}.shape, "dtype": ${name}.dtype.name, "b64": b64encode(${name}.tobytes()).decode()}`);
  const operands = state.op === "matmul" || state.op === "norm" ? names.map((name, at) => `    "${name}": ${values[at]},`) : ["    \"operands\": [", ...values.map((value) => `        ${value},`), "    ],"];
  const more = Object.entries(wireFields(state)).map(([name, value]) => `    "${name}": ${python(value)},`);
  const lines = ["from base64 import b64encode", "", "import httpx", "import numpy as np", "", ...made, "body = {", ...operands, ...more, "}", `response = httpx.post("${url}", json=body)`, ...answered()];
  return { text: lines.join("\n") };
}

/** The request with its body from a file. */
function posted(state, tensors) {
  const { path, headers, body, file } = sent(state, tensors);
  const content = file ? `open("${file.name}", "rb").read()` : `${JSON.stringify(body)}.encode()`;
  const lines = ["import httpx", "", `headers = {"Content-Type": "${headers["Content-Type"]}"}`, `body = ${content}`, `response = httpx.post("${base()}${path}", content=body, headers=headers)`, ...answered()];
  return { text: lines.join("\n"), files: file && [file] };
}

function answered() {
  return ["response.raise_for_status()", "answer = response.json()", 'print(answer["result"]["data"], answer["strategy"], answer["timing"]["compute_ms"])', ""];
}

function python(value) {
  return JSON.stringify(value).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
}

function torch(state, tensors, plan) {
  if (!plan) return { text: "# The call is not valid yet: see the problem above.\n" };
  const { lines: made, files } = arrays(state, tensors);
  const dtypes = dtypesOf(state, tensors);
  const common = promote(dtypes);
  const casts = operandNames(state).map((name, index) => {
    const brain = dtypes[index] === "bfloat16" ? ".bfloat16()" : "";
    const promoted = dtypes[index] === common ? "" : `.to(torch.${common})`; // torch multiplies operands of one dtype
    return `${name} = torch.from_numpy(${name})${brain}${promoted}`;
  });
  const settings = plan.reproduce.split("; ");
  const call = settings.pop();
  const lines = ["import numpy as np", "import torch", "", ...made, ...casts, ...settings, `print(${call})`, ""];
  return { text: lines.join("\n"), files };
}
