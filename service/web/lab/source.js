// Source of a strategy, with its index letters in the colours of the axes.

import { colour } from "./axes.js";
import { h } from "./dom.js";

const TOKEN = /("""[^]*?"""|"[^"\n]*"|'[^'\n]*'|#[^\n]*)|\b(def|for|in|if|else|elif|return|not|and|or|is|None|True|False|lambda|while|with|import|from|as|yield|raise|assert)\b|\b([A-Za-z_]\w*)\b/g;
// In the strategies of matmul sizes and indices of one axis share its colour.
const MATMUL = { i: "i", m: "i", p: "k", k: "k", j: "j", n: "j" };

/** The snippet as code. */
export function sourceCode(op, snippet) {
  const code = h("code");
  let at = 0;
  for (const match of snippet.matchAll(TOKEN)) {
    code.append(snippet.slice(at, match.index));
    const [text, quiet, keyword, name] = match;
    const axis = op === "matmul" && name && Object.hasOwn(MATMUL, name) ? MATMUL[name] : null;
    if (quiet) code.append(h("span", { class: "quiet" }, text));
    else if (keyword) code.append(h("span", { class: "keyword" }, text));
    else if (axis) code.append(h("b", { class: `axis axis-${colour(axis)}` }, text));
    else code.append(text);
    at = match.index + text.length;
  }
  code.append(snippet.slice(at));
  return h("pre", { class: "source", tabindex: "0", "aria-label": "source" }, code);
}
