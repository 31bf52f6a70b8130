// Opens the lab page: asks the service what it can do, then shows the state that the URL holds.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { Lab } from "./lab.js";
import { decode, start } from "./state.js";

async function open() {
  const [catalogue, found] = await Promise.all([get("strategies"), get("devices")]);
  const ops = catalogue.map((op) => op.name);
  const devices = found.devices.map((device) => device.name);
  const first = decode(location.hash, ops) ?? start(ops[0]);
  const lab = new Lab(catalogue, devices, first);
  // The part after # is the state, so a link into the page would be taken for one.
  document.getElementById("skip").addEventListener("click", () => document.getElementById("call").focus());
  addEventListener("popstate", () => lab.show(decode(location.hash, ops) ?? start(ops[0]), { visit: false }));
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) lab.act(event.shiftKey ? "race" : "run");
  });
  await lab.show(first, { visit: false });
}

open().catch((error) => {
  fill(document.getElementById("call-problem"), h("div", { class: "problem", role: "alert" }, h("p", {}, error.message)));
  throw error;
});
