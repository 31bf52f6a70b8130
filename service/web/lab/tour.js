// The guided tour: the lesson in nine steps. Each sets up the page, runs the call, explains it and says what it came to.

import { showChain } from "./chain.js";
import { fill, h, refill } from "./dom.js";
import { generated, typed } from "./operand.js";
import * as outcomes from "./outcomes.js";
import { isEmbedded } from "./share.js";
import { encode, start } from "./state.js";

const DIGITS = "1 2 3\n4 5 6\n7 8 9";
const TENS = "10 10 10\n20 20 20\n30 30 30";
const IMAGES = generated("random", [5, 784], 0);
const WEIGHTS = generated("integers", [784, 10], 1);
const HIDDEN = generated("integers", [784, 50], 1);
const MODEL = {
  operands: [IMAGES, HIDDEN, generated("integers", [50, 10], 2)],
  steps: [
    { name: "hidden", operation: "matmul", a: { operand: 0 }, b: { operand: 1 } },
    { name: "positive", operation: "broadcast", op: "relu", operands: [{ step: "hidden" }] },
    { name: "classes", operation: "matmul", a: { step: "positive" }, b: { operand: 2 } },
  ],
};
const MINUS_LOST = { rtol: "1e3", atol: "1e5" };

function setUp(op, { params = {}, race = {}, ...changes }) {
  const plain = start(op);
  return { ...plain, ...changes, params: { ...plain.params, ...params }, race: { ...plain.race, ...race } };
}

const matmul = (a, b, changes = {}) => setUp("matmul", { operands: [a, b], view: "race", ...changes });
const norm = (text, strategy, changes = {}) => setUp("norm", { operands: [typed(text)], strategy, view: "run", ...changes });
const einsum = (equation, operands, changes = {}) => setUp("einsum", { operands, params: { equation }, view: "run", ...changes });
const broadcast = (op, operands, views = [], changes = {}) => setUp("broadcast", { operands: operands.map((each) => (typeof each === "string" ? typed(each) : each)), params: { op }, views, view: "run", ...changes });
const expand = (text, to, views = []) => setUp("broadcast", { operands: [typed(text)], params: { op: "", to }, views, view: "run" });

/**
 * The steps: a title, a text, and ways to set up the page, the first of which is shown with the step.
 * `leads` are the sections that the step is about, unless a way names its own; `says` is the sentence of its outcome.
 * A `chain` is run by the strategy of the page.
 */
const STOPS = [
  {
    title: "From loops to torch",
    leads: ["strategies"],
    says: outcomes.fastest,
    text: "Five images of 784 pixels, times the weights of ten classes: one product, by every strategy from three Python loops to PyTorch's own. Each does the same 39,200 multiply-adds, so the difference in time is the cost of the interpreter.",
    ways: [["(5, 784) @ (784, 10)", matmul(IMAGES, WEIGHTS)]],
  },
  {
    title: "Near, not equal",
    leads: ["strategies"],
    says: outcomes.agreement,
    text: "The same numbers added in another order give other last bits, so results are compared with exact ones and may be off by rtol 1e-3 and atol 1e-5. A copy of the lesson lost the minus signs: with 1e3 and 1e5 every result passes, even with bfloat16's eight bits.",
    ways: [
      ["float32 agrees", matmul(IMAGES, WEIGHTS, { race: { strategies: ["elementwise", "dot", "broadcast", "einsum", "torch", "numpy"] } })],
      ["bfloat16 does not", matmul(IMAGES, WEIGHTS, { dtype: "bfloat16", race: { strategies: ["elementwise", "broadcast", "einsum", "torch"] } })],
      ["the minus signs lost", matmul(IMAGES, WEIGHTS, { dtype: "bfloat16", race: { strategies: ["elementwise", "broadcast", "einsum", "torch"], ...MINUS_LOST } })],
    ],
  },
  {
    title: "Frobenius norm",
    leads: ["result"],
    says: outcomes.numbers,
    text: "The root of the sum of all squared elements: (m * m).sum().sqrt() is 16.8819 for the digits. Squares overflow before norms do, so the strategy that divides by the greatest element first is right where the short one gives infinity.",
    ways: [
      ["the digits", norm(DIGITS, "elementwise")],
      ["1e20 overflows", norm("1e20 1e20", "elementwise")],
      ["scaled first, it does not", norm("1e20 1e20", "scaled")],
      ["a norm for each row", norm(DIGITS, "auto", { params: { dim: "1" } })],
    ],
  },
  {
    title: "Rows and columns",
    leads: ["plan", "result"],
    says: outcomes.strides,
    text: "Shapes are aligned from the right, and a size of 1 stretches to the other size. A row of three repeats down the matrix, a column of three repeats across it, and neither is copied.",
    ways: [
      ["matrix + row", broadcast("add", [TENS, "1 2 3"])],
      ["matrix + column", broadcast("add", [TENS, "1\n2\n3"])],
      ["an image × three colours", broadcast("mul", [generated("random", [256, 256, 3], 0), "0.5 1 2"])],
    ],
  },
  {
    title: "Strides and expand",
    leads: ["plan", "result"],
    says: outcomes.strides,
    text: "A stride is the distance in memory between neighbours along an axis. An expanded axis has stride 0, so all its positions are the same element. The expanded row looks like nine numbers and stores three.",
    ways: [
      ["a row expanded", expand("10 20 30", "3x3")],
      ["a column expanded", expand("10 20 30", "3x3", ["...,None"])],
      ["(2, 5) has strides (5, 1)", setUp("broadcast", { operands: [generated("count", [2, 5])], params: { op: "", to: "2x5" }, view: "run" })],
      ["three numbers as an image", expand("0.5 1 2", "256x256x3")],
    ],
  },
  {
    title: "None adds an axis",
    leads: ["result", "plan"],
    says: outcomes.comparison,
    text: "Indexing with None adds an axis of size 1 at its position, without a copy: c[:, None] is a column. So c * c[:, None] is the table of all products, and a row against a column compares everything with everything.",
    ways: [
      ["c * c[:, None]", broadcast("mul", ["10 20 30", "10 20 30"], ["", ":,None"])],
      ["c == c[None]", broadcast("eq", ["10 20 30", "10 20 30"], ["", "None"])],
      ["row > column", broadcast("gt", ["10 20 30;", "10\n20\n30"])],
    ],
  },
  {
    title: "Einsum",
    leads: ["result", "plan"],
    says: outcomes.contraction,
    text: "Name the axes by letters, and choose which the result keeps: a letter that is missing there is summed. With three operands or more the order matters, and the path shows the cost of each step.",
    ways: [
      ["product ik,kj->ij", einsum("ik,kj->ij", [typed("1 2\n3 4"), typed("5 6\n7 8")])],
      ["transpose ij->ji", einsum("ij->ji", [typed("1 2 3;")])],
      ["diagonal ii->i", einsum("ii->i", [typed(DIGITS)])],
      ["trace ii", einsum("ii", [typed(DIGITS)])],
      ["batch bij,bjk->bik", einsum("bij,bjk->bik", [generated("integers", [3, 4, 5], 0), generated("integers", [3, 5, 2], 1)])],
      ["inner i,i", einsum("i,i", [typed("10 20 30"), typed("1 2 3")])],
      ["a chain of three", einsum("ij,jk,kl->il", [generated("random", [10, 1000], 0), generated("random", [1000, 10], 1), generated("random", [10, 500], 2)]), ["plan"]],
    ],
  },
  {
    title: "What does not fit",
    leads: ["call"],
    says: outcomes.refusal,
    text: "An error names the axis, both sizes and a change that would work. It comes with the plan, before anything is computed. Press the hint to correct the call.",
    ways: [
      ["inner sizes differ", matmul(typed("1 2 3\n4 5 6"), typed("1 2 3\n4 5 6"), { view: "run" })],
      ["256 against 128", broadcast("add", [generated("random", [256, 256, 3], 0), generated("random", [128, 256, 3], 1)], [], { view: "" }), ["plan"]],
      ["a wrong arrow", einsum("ik,kj>ij", [typed("1 2;"), typed("3\n4")])],
      ["three loops over a million", matmul(generated("random", [1000, 1000], 0), generated("random", [1000, 1000], 1), { strategy: "loops", view: "run" }), ["strategies"]],
      ["bytes overflow", matmul(typed("100 100\n3 4"), typed("100 2\n3 4"), { dtype: "int8", view: "run" }), ["strategies"]],
    ],
  },
  {
    title: "Several at once",
    leads: ["chain"],
    says: outcomes.chained,
    text: "A product, ReLU and another product are a small network. As a chain they are one request: results stay in the service, and only the last one would come back. The call below is the first step alone.",
    chain: MODEL,
    ways: [
      ["all steps by torch", matmul(IMAGES, HIDDEN, { strategy: "torch", view: "" })],
      ["all steps by Python lists", matmul(IMAGES, HIDDEN, { strategy: "python", view: "" })],
    ],
  },
];

const setUpKey = (state) => encode({ ...state, view: "", tour: 0 });

/**
 * The list of steps in `list`, the text of the current one in `words` and its chain in `chainRoom`; `go(state)` shows
 * a state. The sections after `words` are brought into the order of the step.
 */
export function tourView({ list, words, chainRoom }, store, go) {
  const usual = [...words.parentElement.children].filter((each) => each.tagName === "SECTION" && each !== words);
  let stop = null;
  let way = null; // the latest that was shown as it was set up
  let outcome = null;
  let chain = null; // the answer to the chain of the step
  let known = {};
  const visit = (number, index = 0) => {
    go({ ...STOPS[number - 1].ways[index][1], tour: number });
    // A page that was scrolled down shows the step from its start.
    if (usual.some((section) => section.getBoundingClientRect().top < 0)) list.scrollIntoView({ block: "nearest" });
  };
  fill(
    list,
    STOPS.map(({ title }, at) =>
      h("li", {}, h("button", { type: "button", class: "stop", "data-stop": at + 1, on: { click: () => visit(at + 1) } }, h("span", { class: "stop-number" }, String(at + 1)), h("span", { class: "stop-title" }, title)))),
  );

  function update(state) {
    const { tour } = state;
    for (const button of list.querySelectorAll(".stop")) {
      if (Number(button.dataset.stop) === tour) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    }
    const next = STOPS[tour - 1] ?? null;
    words.hidden = !next;
    document.body.classList.toggle("touring", Boolean(next) && !isEmbedded());
    if (next !== stop) {
      stop = next;
      way = stop?.ways[0];
      if (stop) write(tour);
      if (!stop?.chain) fill(chainRoom);
      chainRoom.dataset.strategy = "";
    }
    if (stop) mark(state);
    arrange((isEmbedded() ? [] : way?.[2] ?? stop?.leads ?? []).map((id) => document.getElementById(id)));
    if (stop?.chain && chainRoom.dataset.strategy !== state.strategy) runChain(state.strategy);
  }

  function write(tour) {
    outcome = h("p", { class: "outcome" });
    refill(
      words,
      h("h2", {}, `${tour}. ${stop.title}`),
      h("p", { class: "prose" }, stop.text),
      outcome,
      stop.ways.length > 1 && h("p", { class: "actions" }, stop.ways.map(([label], at) => h("button", { type: "button", class: "quiet-button way", on: { click: () => visit(tour, at) } }, label))),
      h("p", { class: "actions onward" }, tour < STOPS.length && h("button", { type: "button", class: "next", "data-focus": "next", on: { click: () => visit(tour + 1) } }, "Next step →"), h("button", { type: "button", class: "tab", on: { click: () => store.set({ tour: 0 }) } }, "Leave the tour")),
    );
  }

  /** Marks the button whose state the page has. */
  function mark(state) {
    const now = setUpKey(state);
    const at = stop.ways.findIndex(([, setUp]) => setUpKey(setUp) === now);
    if (at >= 0) way = stop.ways[at];
    words.querySelectorAll(".way").forEach((button, index) => button.setAttribute("aria-pressed", String(index === at)));
  }

  /** Puts the sections that `lead` first, and leaves the focus where it is. */
  function arrange(lead) {
    const focused = document.activeElement;
    let last = words;
    for (const section of [...lead, ...usual.filter((each) => !lead.includes(each))]) {
      if (last.nextElementSibling !== section) last.after(section);
      last = section;
    }
    if (focused === document.activeElement) return;
    focused.focus({ preventScroll: true });
    focused.scrollIntoView({ block: "nearest" });
  }

  async function runChain(strategy) {
    chainRoom.dataset.strategy = strategy;
    chain = null;
    const answer = await showChain(chainRoom, stop.chain, strategy);
    if (chainRoom.dataset.strategy !== strategy) return;
    chain = answer;
    tell(known);
  }

  /** Says what the step came to, from what is `known` of the call. */
  function tell(facts) {
    known = facts;
    if (stop) fill(outcome, stop.says({ ...known, chain }));
  }

  return { update, tell };
}
