// The machine of a report: processor, devices, peak rates and versions.

import { h } from "../lab/dom.js";
import { rate } from "../lab/format.js";

/** Facts as a list of terms; those without a text are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, text]) => text !== "" && text !== null && text !== undefined);
  return h("dl", { class: "facts" }, known.map(([name, text]) => h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, text))));
}

/** The host of a race. */
export function machine({ cpu, threads, devices = [], versions, peaks = {} }) {
  const rates = Object.entries(peaks).flatMap(([device, { gflops, gb_per_s }]) => [
    [`peak of ${device}, by a product`, gflops ? `${rate(gflops)} GFLOP/s` : ""],
    [`peak of ${device}, by a copy`, gb_per_s ? `${rate(gb_per_s)} GB/s` : ""],
  ]);
  return facts([["processor", cpu], ["threads", String(threads)], ["devices", devices.join(", ")], ...rates, ...Object.entries(versions)]);
}
