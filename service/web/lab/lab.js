// The lab page: it connects the parts. A change of the state updates every part, and then requests a plan.

import { alignmentTable, clashing, stretchedGrids } from "./alignment.js";
import * as api from "./api.js";
import { lettersOf, viewAxes } from "./axes.js";
import { accept, planBody, request } from "./body.js";
import { fill, h } from "./dom.js";
import { callForm, raceFields, raceForm } from "./form.js";
import { operandCards } from "./operands.js";
import { tensorOf } from "./operand.js";
import { operandNames, operandPointer } from "./operations.js";
import { pathSteps } from "./path.js";
import { loops, showPlan } from "./plan.js";
import { clearProblems, goToProblem, showProblem, showUnread } from "./problems.js";
import { key, raceTable, stopped, verdict } from "./race.js";
import { reportBar } from "./report.js";
import { showResult } from "./result.js";
import { pageLink } from "./share.js";
import { snippetsView } from "./snippets.js";
import { callKey, start, Store } from "./state.js";
import { tourView } from "./tour.js";

const PAUSE_MS = 120; // from the last key until a plan is requested
const WARMING_MS = 1000; // a service that has just started measures its strategies for some seconds
const NO_RACE = { rows: new Map(), report: null };
const at = (id) => document.getElementById(id);

/** The page, for the operations and devices of the service. */
export class Lab {
  #tensors = []; // of the operands; `{error}` for one that cannot be parsed
  #made = []; // the operands and dtypes that they were made from
  #plan = null;
  #planned = Promise.resolve();
  #asking = new AbortController();
  #pause = 0;
  #working = null; // the run or race that is under way
  #race = NO_RACE;
  #resultOf = null; // the call that the result belongs to
  #known = {}; // what has come for the call as it is: plan, answer, report, problem

  constructor(catalogue, devices, state) {
    this.catalogue = catalogue;
    this.devices = devices;
    this.store = new Store(state);
    this.parts = {
      operands: operandCards(at("operands"), this.store),
      form: callForm(at("own-form"), at("form"), this.store),
      raceForm: raceForm(at("race-form"), this.store),
      race: raceTable(at("race"), this.store),
      reports: reportBar(at("reports"), () => this.#refresh()),
      snippets: snippetsView(at("snippets"), this.store),
      tour: tourView({ list: at("stops"), words: at("tour-words"), chainRoom: at("chain") }, this.store, (chosen) => this.show(chosen)),
    };
    fill(at("operations"), catalogue.map((op) => this.#operation(op)));
    at("run").addEventListener("click", () => this.act("run"));
    at("race-run").addEventListener("click", () => (this.#working?.kind === "race" ? this.#stop() : this.act("race")));
    this.store.listen((now, before) => this.#changed(now, before));
  }

  #operation({ name, summary }) {
    const radio = h("input", { type: "radio", name: "operation", value: name, on: { change: () => this.show(start(name)) } });
    return h("label", { class: "operation", title: summary }, radio, name);
  }

  get #info() {
    return this.catalogue.find((op) => op.name === this.store.state.op);
  }

  /** The tensors of the operands; null for one that cannot be parsed. */
  get #readable() {
    return this.#tensors.map((tensor) => (tensor.error ? null : tensor));
  }

  get #letters() {
    const shapes = this.#tensors.map((tensor) => tensor.shape ?? null);
    return lettersOf(this.store.state, shapes, this.#plan?.result.shape.length ?? null);
  }

  /** Shows a state, and repeats the run or race that is part of it. */
  async show(state, { visit = true } = {}) {
    this.#end();
    fill(at("result"));
    this.#resultOf = null;
    this.#known = {};
    this.#forgetRace();
    this.store.set(state, { visit });
    const planned = this.#planNow();
    await (state.view ? this.act(state.view) : planned);
  }

  /** Ends the run or race that is under way. */
  #end() {
    this.#working?.ending.abort();
    this.#working = null;
  }

  /** Ends the race that is under way, and keeps its rows. */
  #stop() {
    this.#end();
    at("verdict").textContent = stopped(this.#race.rows);
    this.#refresh();
  }

  /** Takes what the service lists since a device has become ready, or is so no longer, and plans again. */
  equip(catalogue, devices) {
    this.catalogue = catalogue;
    this.devices = devices;
    this.parts.form.update(this.store.state, this.#info, devices);
    this.parts.raceForm.update(this.store.state, this.#info);
    return this.#planNow();
  }

  #forgetRace() {
    this.#race = NO_RACE;
    at("verdict").textContent = "";
  }

  #changed(state, before) {
    this.#makeTensors(state);
    at("to-lab").href = pageLink();
    for (const radio of document.querySelectorAll("#operations input")) radio.checked = radio.value === state.op;
    this.parts.tour.update(state);
    this.parts.form.update(state, this.#info, this.devices);
    this.parts.raceForm.update(state, this.#info);
    if (callKey(state) !== callKey(before)) {
      this.#end();
      this.#asking.abort();
      this.#known = {};
      this.#forgetRace();
      clearTimeout(this.#pause);
      this.#pause = setTimeout(() => this.#planNow(), PAUSE_MS);
    }
    at("result").classList.toggle("stale", this.#resultOf !== null && this.#resultOf !== callKey(state));
    this.#refresh();
  }

  #makeTensors(state) {
    this.#tensors = state.operands.map((operand, index) => {
      const known = this.#made[index];
      if (known?.operand === operand && known.dtype === state.dtype) return this.#tensors[index];
      try {
        return tensorOf(operand, state.dtype);
      } catch (error) {
        return { error };
      }
    });
    this.#made = state.operands.map((operand) => ({ operand, dtype: state.dtype }));
  }

  /** Promise of the latest plan, settled when it is drawn. */
  get planned() {
    return this.#planned;
  }

  /** Updates the parts that depend on the plan. */
  #refresh() {
    const { state } = this.store;
    const doing = this.#working?.kind;
    const running = doing === "race";
    this.parts.operands.update(state, this.#readable, this.#letters);
    const kept = this.parts.reports.update(this.#race.report, this.#info.strategies);
    const arithmetic = { precision: state.precision, deterministic: state.deterministic === "true" };
    this.parts.race.update({ op: state.op, ...arithmetic, strategies: this.#info.strategies, plan: this.#plan, ...this.#race, kept, running });
    this.parts.snippets.update(state, this.#readable, this.#plan);
    at("run").classList.toggle("busy", doing === "run");
    at("race-run").classList.toggle("busy", running);
    at("race-run").textContent = running ? "Stop the race" : "Race them";
    this.parts.tour.tell({ state, tensors: this.#tensors, letters: this.#letters, ...this.#known });
  }

  #planNow() {
    clearTimeout(this.#pause);
    this.#pause = 0;
    this.#planned = this.#askPlan();
    return this.#planned;
  }

  async #askPlan() {
    const { state } = this.store;
    this.#asking.abort();
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const unread = this.#tensors.flatMap((tensor, index) => (tensor.error ? [index] : []));
    let plan = null;
    let problem = null;
    try {
      if (unread.length === 0) plan = await api.plan(state.op, planBody(state, this.#tensors), signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof api.ProblemError)) throw error;
      problem = error.problem;
    }
    if (signal.aborted) return;
    this.#plan = plan;
    Object.assign(this.#known, { plan, problem });
    clearProblems();
    this.#drawPlan();
    this.#refresh();
    for (const index of unread) showUnread(this.#tensors[index].error, index, operandPointer(state, index), this.store);
    if (problem) showProblem(problem, this.store, this.#readable, "call");
    if (problem?.code === "warming-up") this.#pause = setTimeout(() => this.#planNow(), WARMING_MS);
  }

  #drawPlan() {
    const { state } = this.store;
    const [plan, letters, tensors] = [this.#plan, this.#letters, this.#readable];
    const names = operandNames(state);
    showPlan(at("facts"), plan, letters, this.store);
    const drawings = [];
    if (plan?.path) drawings.push(pathSteps(plan.path, names));
    if (plan && (plan.path?.length ?? 1) === 1) drawings.push(loops(state, tensors.map(({ shape }) => shape), letters));
    if (plan?.broadcast) drawings.push(alignmentTable(plan.broadcast, names, letters.result, state.views), stretchedGrids(plan.broadcast, tensors, names, state.views));
    if (!plan && state.op === "broadcast" && tensors.every(Boolean)) {
      const shapes = tensors.map(({ shape }, index) => viewAxes(state.views[index], shape.length).map((axis) => (axis === null ? 1 : shape[axis])));
      drawings.push(alignmentTable(clashing(shapes), names, letters.result, state.views));
    }
    fill(at("drawings"), drawings);
  }

  /** Runs or races the call when its plan has arrived. A later one, or a change of the call, ends it. */
  async act(kind) {
    this.#end();
    const job = { kind, ending: new AbortController() };
    const { signal } = job.ending;
    this.#working = job;
    this.#refresh();
    try {
      await (this.#pause ? this.#planNow() : this.#planned);
      signal.throwIfAborted();
      if (this.#plan === null) return goToProblem();
      this.#known.problem = null;
      clearProblems();
      this.store.set({ view: kind }, { visit: this.store.state.view !== kind });
      await (kind === "run" ? this.#run(signal) : this.#raceAll(signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof api.ProblemError)) throw error;
      this.#forgetRace();
      this.#known.problem = error.problem;
      showProblem(error.problem, this.store, this.#readable, "run");
    } finally {
      if (this.#working === job) {
        this.#working = null;
        this.#refresh();
      }
    }
  }

  async #run(signal) {
    const { state } = this.store;
    const known = this.#known;
    const sent = request(state, this.#tensors);
    const answer = await api.run(sent, accept(state, this.#plan, this.#tensors), signal);
    signal.throwIfAborted();
    this.#resultOf = callKey(state);
    known.answer = answer;
    at("result").classList.remove("stale");
    showResult(at("result"), answer, this.#letters, this.store);
  }

  async #raceAll(signal) {
    const { state } = this.store;
    const known = this.#known;
    const race = { rows: new Map(), report: null };
    this.#race = race;
    at("verdict").textContent = "Racing.";
    this.#refresh();
    await api.race(request(state, this.#tensors, "/compare", raceFields(state.race)), (name, data) => {
      if (signal.aborted) return;
      if (name === "report") {
        race.report = data;
        Object.assign(known, { report: data, race: state.race });
      }
      for (const row of name === "report" ? data.rows : [data]) race.rows.set(key(row), row);
      this.#refresh();
    }, signal);
    signal.throwIfAborted();
    const { host } = race.report;
    at("verdict").textContent = verdict(race.report);
    const versions = Object.entries(host.versions).map(([name, version]) => `${name} ${version}`);
    fill(at("host"), `Measured on ${host.cpu}, ${host.threads} ${host.threads === 1 ? "thread" : "threads"}; ${versions.join(", ")}.`);
  }
}
