"use strict";
const $ = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

function remember(change) {
  history.replaceState({ ...history.state, ...change }, "");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember({ theme });
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

if (history.state?.theme) setTheme(history.state.theme);
$("#theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));

// Sorting: numbers before text, what is missing last. A cell is worth what it says it is, else the number it begins with.
function sortBy(table, column, ascending) {
  const value = (row) => {
    const cell = row.cells[column], text = (cell?.dataset.sort ?? cell?.textContent ?? "").trim().replace("−", "-");
    const number = parseFloat(text);
    return text === "–" || text === "" ? [2, text] : isNaN(number) ? [1, text] : [0, number];
  };
  const compare = (a, b) => {
    const [kindA, textA] = value(a), [kindB, textB] = value(b);
    if (kindA !== kindB) return kindA - kindB;
    const order = kindA === 0 ? textA - textB : textA.localeCompare(textB, "en");
    return ascending ? order : -order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  [...table.tHead.rows[0].cells].forEach((head, k) =>
    head.setAttribute("aria-sort", k === column ? (ascending ? "ascending" : "descending") : "none"));
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("th[aria-sort]");
  if (head && event.target.closest("button"))
    sortBy(head.closest("table"), head.cellIndex, head.getAttribute("aria-sort") !== "ascending");
});
