"use strict";
const board = JSON.parse($("#data").textContent);
const state = { dataset: 0, tier: board.tiers.at(-1), filter: "" };
const views = new Map();
const named = (label) => board.names[label] ?? label;

// ── what is packed, see mibench.site.packing ──
function unpacked(place) {
  const bytes = Uint8Array.from(atob(place.textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));
}

function rowsOf({ keys, values, shapes, rows }) {
  const next = keys.map(() => 0);
  return rows.map((shape) => {
    const row = Object.create(null);
    for (const k of shapes[shape]) {
      let place = row;
      for (const name of keys[k].slice(0, -1)) place = place[name] ??= Object.create(null);
      place[keys[k].at(-1)] = values[k][next[k]++];
    }
    return row;
  });
}

// The records of the cells, when they are first asked for.
let unpacking;
function details() {
  unpacking ??= (async () => {
    const found = await unpacked($("#details")).json(), cells = new Map();
    for (const one of rowsOf(found.records)) {
      const { dataset, defense, attack } = one.record.labels;
      const key = [dataset, defense, attack].join("\n");
      cells.set(key, [...(cells.get(key) ?? []), one]);
    }
    return { cells, others: rowsOf(found.others) };
  })();
  return unpacking;
}

// ── plots ──
const tip = $("#tip");
function showTip(handler, event, item, value) {
  tip.hidden = !value;
  if (!value) return;
  tip.textContent = value;
  const { clientX: x, clientY: y } = event;
  tip.style.left = `${Math.max(0, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 12, innerHeight - tip.offsetHeight - 8))}px`;
}

async function draw(place, name, rows, empty = "Nothing has been measured here yet.") {
  views.get(place)?.finalize();
  views.delete(place);
  place.replaceChildren();
  if (!rows.length) {
    place.append(element("p", empty));
    return;
  }
  const spec = board.specs[name], crowded = spec.legends && rows.some((row) => row.base);
  const shown = { ...spec, legends: crowded ? spec.legends : [], height: spec.height + (crowded ? 130 : 0) };
  const view = new vega.View(vega.parse(shown), { renderer: "svg", container: place });
  views.set(place, view);
  view.tooltip(showTip);
  view.addEventListener("click", (event, item) => {
    const cell = item?.datum?.cell ?? item?.datum?.datum?.cell;
    if (cell) location.hash = cell;
  });
  if (crowded) view.signal("columns", Math.max(2, Math.floor(place.clientWidth / 130)));
  await view.data("points", rows).runAsync();
  $("svg", place)?.setAttribute("aria-hidden", "true"); // the place itself has a label
}

// The corners of one ROC as rows; the axes begin at one sample.
function curve(one, more) {
  const { members, nonmembers } = one.record.attack;
  const [alarms, hits] = one.roc.map((steps) => { let sum = 0; return steps.map((step) => sum += step); });
  return alarms.map((alarm, k) => ({
    fpr: Math.max(alarm, 1) / nonmembers, tpr: Math.max(hits[k], 1) / members, order: k, line: one.path, ...more,
  }));
}

function guess(rows) {
  const low = Math.max(Math.min(...rows.map((row) => row.fpr)), Math.min(...rows.map((row) => row.tpr)));
  return rows.length ? [...rows, { fpr: low, tpr: low, order: 0, line: "guess" }, { fpr: 1, tpr: 1, order: 1, line: "guess" }] : rows;
}

async function drawRoc(points) {
  const { cells } = await details();
  const rows = points.filter((point) => point.end && point.few).flatMap((point) => {
    const found = (cells.get(parts(point.cell).join("\n")) ?? []).filter((one) => one.roc);
    return found.slice(0, point.base ? 1 : undefined).flatMap((one) =>
      curve(one, { colour: point.colour, cell: point.cell, tip: `${point.name}, seed ${one.record.cell.seed}` }));
  });
  await draw($("#roc"), "roc", guess(rows));
}

function drawSteps(points) {
  draw($("#steps-area"), "area", points);
  draw($("#steps-fd"), "fd", points.filter((point) => point.fd !== null));
}

// ── what is shown ──
function later(place, action) {
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watcher.disconnect();
      action();
    }
  }, { rootMargin: "200px" });
  watcher.observe(place);
  return watcher;
}

let waiting = [];
async function update() {
  const rank = ["samples", "network", "weights", "shadows"].indexOf(state.tier);
  for (const one of all("[data-dataset]"))
    one.hidden = +one.dataset.dataset !== state.dataset || (one.dataset.tier ?? state.tier) !== state.tier;
  for (const one of all("[data-rank]")) {
    const words = state.filter.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const labels = one.closest(".cells") ? all("[title]", one).map((name) => name.title) : [];
    const filtered = one.closest(".cells") && !words.every((word) => [one.textContent, ...labels].join(" ").toLowerCase().includes(word));
    one.hidden = +one.dataset.rank > rank || Boolean(filtered);
  }
  const rows = all("table.cells tbody tr").filter((row) => !row.closest("[hidden]"));
  $("#count").textContent = `${rows.length} shown`;
}

async function redraw() {
  waiting.forEach((watcher) => watcher.disconnect());
  remember({ dataset: state.dataset, tier: state.tier });
  await update();
  const dataset = board.datasets[state.dataset], points = board.points[dataset]?.[state.tier] ?? [];
  const drawn = points.filter((point) => point.fd !== null);
  await draw($("#tradeoff"), $("#logit").checked ? "logit" : "linear", drawn);
  $("#training").hidden = !board.checkpoints[dataset];
  waiting = [later($("#roc"), () => drawRoc(points))];
  if (board.checkpoints[dataset]) waiting.push(later($("#training"), () => drawSteps(points)));
}

// ── one cell ──
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function parts(hash) {
  try {
    return hash.slice(1).split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

const rate = (value) => value === null || value === undefined ? "–" : value.toFixed(3).replace(/^(-?)0\./, "$1.").replace("-", "−");
const span = (interval) => interval ? `[${rate(interval[0])}, ${rate(interval[1])}]` : "";
const figure = (estimate) => estimate.value === null ? "n/a" : `${rate(estimate.value)} ${span(estimate.interval)}`;

function grid(caption, header, rows) {
  const table = element("table", null,
    element("thead", null, element("tr", null, ...header.map((text) => element("th", text)))),
    element("tbody", null, ...rows.map((row) => element("tr", null, ...row.map((text) => element("td", String(text)))))));
  const region = element("div", null, table);
  region.className = "scroll";
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", caption);
  return [element("h3", caption), region];
}

function facts(caption, found) {
  return grid(caption, ["what", "value"], Object.entries(found).filter(([, value]) => value !== null)
    .map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : value]));
}

function figures(found) {
  const seeds = found.map((one) => one.record);
  const [first] = seeds.filter((record) => record.attack || record.audit || record.utility);
  if (!first) return [];
  if (first.attack) {
    const rows = seeds.filter((record) => record.attack).flatMap(({ cell, attack }) =>
      ["published", "calibrated", "oracle"].map((choice) => {
        const { setting, auroc, tpr, fixed } = attack[choice];
        return [cell.seed, choice, setting, figure(auroc), ...Object.values(tpr).map(figure), rate(fixed.accuracy.value), rate(fixed.fpr), fixed.epsilon.toFixed(2)];
      }));
    const heads = Object.keys(first.attack.calibrated.tpr).map((fpr) => `TPR@${100 * fpr}%FPR`);
    const reasons = new Set(seeds.flatMap(({ attack }) => Object.values(attack?.calibrated.tpr ?? {}).map((one) => one.reason)).filter(Boolean));
    const note = element("p", reasons.size ? `n/a: ${[...reasons].join("; ")}.` : "");
    note.className = "legend";
    const areas = seeds.flatMap(({ attack }) => attack ? [attack.calibrated.auroc.value] : []);
    const mean = areas.reduce((sum, area) => sum + area, 0) / areas.length;
    const headline = element("p", `The board shows the mean of the calibrated AUROCs over ${areas.length === 1 ? "one seed" : `${areas.length} seeds`}: ${rate(mean)}.`);
    return [headline, ...grid("Figures at each setting", ["seed", "choice", "setting", "AUROC", ...heads, "accuracy", "at FPR", "ε ≥"], rows), note];
  }
  return seeds.flatMap((record) => facts(`Figures, seed ${record.cell.seed}`, record.audit ?? record.utility ?? {}));
}

function again(found) {
  return [element("h3", "Make exactly this cell again"),
    element("pre", null, element("code", found.map((one) => board.again + one.path).join("\n")))];
}

function others(caption, rows) {
  return grid(caption, ["model", "step", "seed", "status", "AUROC", "interval", "FD"], rows.map((row) =>
    [row.model_kind, row.checkpoint || "end", row.seed, row.status, rate(row.calibrated_auroc),
      row.calibrated_auroc_low === null ? "–" : span([row.calibrated_auroc_low, row.calibrated_auroc_high]), row.fd ?? "–"]));
}

function show(content) {
  const body = $("#cell-body"), dialog = $("#cell");
  body.replaceChildren(...content);
  all("pre", body).forEach((one) => { one.tabIndex = 0; });
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

async function showCell(hash) {
  const [dataset, defense, attack, step] = parts(hash);
  if (step) return showCheckpoint(hash);
  const { cells, others: further } = await details();
  const found = cells.get([dataset, defense, attack].join("\n")) ?? [];
  $("#cell-title").textContent = `${named(defense)} · ${named(attack)} on ${named(dataset)}`;
  const labels = element("p", `${dataset} / ${defense} / ${attack}`);
  labels.className = "legend";
  const content = [labels];
  if (!found.length) content.push(element("p", "There is no record of this cell at the end of training."));
  for (const { record } of found.filter((one) => one.record.reason))
    content.push(element("p", `Seed ${record.cell.seed}: ${record.status}, ${record.reason}`));
  const roc = element("div", null);
  roc.className = "plot";
  roc.setAttribute("role", "img");
  roc.setAttribute("aria-label", "ROC of this cell, a line for each seed");
  const curves = found.filter((one) => one.roc);
  content.push(...figures(found));
  if (curves.length) content.push(element("h3", "ROC"), roc);
  if (found.length) {
    content.push(...again(found));
    const costs = found.filter((one) => one.record.cost).map(({ record }) => [record.cell.seed, record.cost.forwards, record.cost.vjps,
      record.cost.shadow_forwards ?? "–", record.cost.fit_forwards ?? "–", record.seconds.toFixed(1), record.model.seconds?.toFixed(1) ?? "–"]);
    content.push(...grid("Cost", ["seed", "forwards per sample", "backwards per sample", "of shadow models per sample", "forwards to learn, in all", "seconds, in all", "seconds of training, in all"], costs));
    const { packages = {}, code = {}, environment, model, cell, split } = found[0].record;
    content.push(...facts(`Provenance, seed ${cell.seed}`, {
      ...Object.fromEntries(Object.entries(packages).map(([kind, value]) => [`package of the ${kind}`, value])),
      ...Object.fromEntries(Object.entries(code).map(([kind, value]) => [`code of the ${kind}`, value])),
      ...environment, weights: model.digest ?? null, split: split?.fingerprint ?? null, recipe: cell.recipe ?? null,
    }));
  }
  const rows = further.filter((row) => row.dataset === dataset && row.defense === defense && row.attack === attack);
  if (rows.length) content.push(...others("Checkpoints and controls", rows));
  for (const { record } of found) {
    const text = element("pre", null, element("code", JSON.stringify(record, null, 1)));
    text.tabIndex = 0;
    content.push(element("details", null, element("summary", `JSON of seed ${record.cell.seed}, to six digits (all digits, the ranks and the checksums are in its file)`), text));
  }
  show(content);
  if (curves.length) await draw(roc, "roc", guess(curves.flatMap((one) =>
    curve(one, { colour: "#2f6fd0", tip: `seed ${one.record.cell.seed}`, cell: null }))));
  $("#cell").dataset.shown = hash;
}

// A model after some steps of training, and where its end is.
async function showCheckpoint(hash) {
  const [dataset, defense, attack, step] = parts(hash);
  const then = (await details()).others.filter((row) => row.dataset === dataset && row.defense === defense && String(row.checkpoint) === step);
  const found = then.filter((row) => row.attack === attack), distances = then.filter((row) => row.attack === "utility");
  $("#cell-title").textContent = `${named(defense)} after ${step} steps · ${named(attack)} on ${named(dataset)}`;
  const end = element("a", "the same at the end of training"), content = [element("p", null, end)];
  end.href = hash.slice(0, hash.lastIndexOf("/"));
  if (!found.length) content.push(element("p", `There is no record of this cell after ${step} steps.`));
  else content.push(...others(`After ${step} steps of training`, found.map((row) =>
    ({ ...row, fd: row.fd ?? distances.find((one) => one.seed === row.seed)?.fd }))), ...again(found));
  show(content);
  $("#cell").dataset.shown = hash;
}

const isCell = (hash) => [3, 4].includes(parts(hash).length);
function followHash() {
  if (isCell(location.hash)) showCell(location.hash);
  else if ($("#cell").open) $("#cell").close();
}

$("#close").addEventListener("click", () => $("#cell").close());
$("#cell").addEventListener("close", () => {
  delete $("#cell").dataset.shown;
  if (isCell(location.hash)) history.replaceState(history.state, "", location.pathname + location.search);
});
addEventListener("hashchange", followHash);

$("#tier")?.addEventListener("change", (event) => { state.tier = event.target.value; redraw(); });
$("#logit").addEventListener("change", redraw);
$("#filter").addEventListener("input", (event) => { state.filter = event.target.value; update(); });
for (const choice of all('input[name="dataset"]'))
  choice.addEventListener("change", () => { state.dataset = +choice.value; chooseAxis(); redraw(); });

function chooseAxis() {
  $("#logit").checked = board.logit[board.datasets[state.dataset]]?.[state.tier] ?? false;
}

async function start() {
  (0, eval)(await unpacked($("#vega")).text()); // sets window.vega
  const before = history.state ?? {};
  if (before.dataset < board.datasets.length) state.dataset = before.dataset;
  if (board.tiers.includes(before.tier)) state.tier = before.tier;
  if ($("#tier")) $("#tier").value = state.tier;
  all('input[name="dataset"]').forEach((choice, k) => { choice.checked = k === state.dataset; });
  chooseAxis();
  for (const table of all("table.defenses")) sortBy(table, 1, true);
  await redraw();
  followHash();
  document.documentElement.dataset.ready = String(performance.now());
  if (REFRESH) setInterval(() => { if (!$("#cell").open) location.reload(); }, 1000 * REFRESH);
}
start();
