// Opens the lab page: gets operations and devices from the service, then shows the state in the URL.

import { get, giveKey, ProblemError } from "./api.js";
import { field, fill, h } from "./dom.js";
import { Lab } from "./lab.js";
import { decode, start } from "./state.js";

const BLANK_MS = 1000; // the longest wait for the first plan before the page is shown without it
const STARTING_MS = 2000; // from one question to the next while a device is starting
const MOST_QUESTIONS = 60; // to load CUDA can take a minute

async function open() {
  const [catalogue, found] = await Promise.all([get("strategies"), get("devices")]);
  const ops = catalogue.map((op) => op.name);
  const first = decode(location.hash, ops) ?? start(ops[0]);
  const lab = new Lab(catalogue, found.devices, first);
  // The part after # is the state, so a link to an anchor would be parsed as one.
  document.getElementById("skip").addEventListener("click", () => document.getElementById("call").focus());
  addEventListener("popstate", () => lab.show(decode(location.hash, ops) ?? start(ops[0]), { visit: false }));
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) lab.act(event.shiftKey ? "race" : "run");
  });
  const shown = lab.show(first, { visit: false });
  await Promise.race([lab.planned, new Promise((wake) => setTimeout(wake, BLANK_MS))]);
  reveal();
  await Promise.all([shown, followDevices(lab, found.devices)]);
}

/** Asks again while a device is starting: what it and its strategies can do is known only after that. */
async function followDevices(lab, devices) {
  const count = (members) => members.filter(({ ready }) => ready).length;
  let known = count(devices);
  for (let asked = 0; known < devices.length && asked < MOST_QUESTIONS; asked += 1) {
    await new Promise((wake) => setTimeout(wake, STARTING_MS));
    try {
      const found = await get("devices");
      if (count(found.devices) === known) continue;
      await lab.equip(await get("strategies"), found.devices);
      known = count(found.devices);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error; // a service that restarts does not answer for a while
    }
  }
}

/** Shows the page, which is hidden until it is drawn, so that its layout does not shift. */
function reveal() {
  document.body.classList.remove("drawing");
}

/** Asks for an API key, then starts again. */
function askForKey(message) {
  const input = h("input", { type: "password", class: "short", autocomplete: "off" });
  const enter = (event) => {
    event.preventDefault();
    giveKey(input.value.trim());
    begin();
  };
  fill(
    document.getElementById("call-problem"),
    h("form", { class: "problem", on: { submit: enter } }, h("p", { role: "alert" }, message, "."), field("key", input), h("button", { class: "hint" }, "Enter")),
  );
  input.focus();
}

async function begin() {
  const place = document.getElementById("call-problem");
  try {
    fill(place);
    await open();
  } catch (error) {
    reveal();
    if (error.problem?.code === "unauthorized") return askForKey(error.message);
    fill(place, h("div", { class: "problem", role: "alert" }, h("p", {}, error.message)));
    throw error;
  }
}

begin();
