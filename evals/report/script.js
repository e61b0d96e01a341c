"use strict";
// The table of all rows and the order of the pictures. What is shown follows from the address, "#truth=2&sort=-sure",
// so that a link can name it; texts are only ever written as texts.

const table = JSON.parse(document.getElementById("table").textContent);
const columns = table.columns;
const PAGE = 100;
const VERDICTS = ["confident", "referred"];
const collator = new Intl.Collator(undefined, { numeric: true });

const percent = (share) => (share === null ? "" : (100 * share).toFixed(1) + " %");
const label = (place) => (place < 0 ? "" : table.labels[place]);
const number = (digits) => (value) => (value === null ? "" : value.toFixed(digits));
const outcome = (row) => (columns.label[row] < 0 ? "failed" : columns.label[row] === columns.truth[row] ? "right" : "wrong");

// name, heading, how a cell is written; what is written as a number is put to the right
const SHOWN = [
  ["row", "Row", String, true],
  ["source", "Image", String],
  ["truth", "Folder", label],
  ["label", "Panel", label],
  ["outcome", "Outcome", String],
  ["sure", "Sure", percent, true],
  ["verdict", "Verdict", (place) => (place < 0 ? "" : VERDICTS[place])],
  ["agree", "Agents agree", String, true],
  ["novelty", "Novelty", number(3), true],
  ["rounds", "Rounds", String, true],
  ["cost", "USD", number(4), true],
  ["seconds", "Seconds", number(3), true],
  ["note", "Note", String],
];
columns.outcome = columns.row.map((_, row) => outcome(row));
const FILTERS = ["truth", "label", "outcome", "verdict"];

function matching(state) {
  const wanted = FILTERS.filter((name) => state.get(name)).map((name) => [columns[name], state.get(name)]);
  const words = (state.get("q") || "").toLowerCase();
  return columns.row.map((_, row) => row).filter((row) =>
    wanted.every(([column, value]) => String(column[row]) === value) &&
    (!words || columns.source[row].toLowerCase().includes(words) || columns.note[row].toLowerCase().includes(words)));
}

// Rows without a value come last, whichever way; equal ones stay in the order of the rows.
function sorted(rows, sort) {
  const down = sort.startsWith("-") ? -1 : 1;
  const name = sort.replace("-", "");
  if (!SHOWN.some(([known]) => known === name)) return rows;
  const named = name === "truth" || name === "label";
  const values = named ? columns[name].map((place) => label(place) || null) : columns[name];
  const compare = rows.some((row) => typeof values[row] === "string") ? collator.compare : (a, b) => a - b;
  const empty = (value) => value === null || value === "" || (name === "verdict" && value < 0);
  return rows.sort((a, b) => empty(values[a]) - empty(values[b]) || (empty(values[a]) ? 0 : down * compare(values[a], values[b])) || a - b);
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const rowForm = document.getElementById("row-controls");
const [previous, next] = ["previous", "next"].map((id) => document.getElementById(id));
const readState = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function writeState(changes) {
  const state = readState();
  for (const [name, value] of Object.entries(changes)) value ? state.set(name, value) : state.delete(name);
  history.replaceState(null, "", "#" + (state.size ? state : "rows"));
  showRows();
}

function showRows() {
  const state = readState();
  for (const name of ["q", ...FILTERS]) if (rowForm.elements[name].value !== (state.get(name) || "")) rowForm.elements[name].value = state.get(name) || "";
  const sort = state.get("sort") || "row";
  const rows = sorted(matching(state), sort);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const page = Math.min(Math.max(1, Number(state.get("page")) || 1), pages);
  document.querySelectorAll("#row-table th").forEach((head, place) => {
    const name = SHOWN[place][0];
    head.setAttribute("aria-sort", sort === name ? "ascending" : sort === "-" + name ? "descending" : "none");
  });
  const body = rows.slice((page - 1) * PAGE, page * PAGE).map((row) => {
    const line = document.createElement("tr");
    for (const [name, , write, isNumber] of SHOWN) {
      const text = name === "agree" ? (columns.looks[row] ? `${columns.agree[row]} of ${columns.looks[row]}` : "") : write(columns[name][row]);
      const cell = element("td", text, isNumber ? "number" : name);
      if (name === "outcome") cell.className = columns[name][row] === "right" ? "ok" : "bad";
      line.append(cell);
    }
    return line;
  });
  document.querySelector("#row-table tbody").replaceChildren(...body);
  document.getElementById("row-count").textContent = `${rows.length.toLocaleString("en")} of ${columns.row.length.toLocaleString("en")} images`;
  document.getElementById("page").textContent = `Page ${page} of ${pages}`;
  previous.disabled = page <= 1;
  next.disabled = page >= pages;
  previous.onclick = () => writeState({ page: page - 1 > 1 ? String(page - 1) : "" });
  next.onclick = () => writeState({ page: String(page + 1) });
}

function showPictures(form) {
  const of = form.elements.of.value;
  const order = form.elements.order.value;
  const key = (card) => (order.startsWith("-") ? -1 : 1) * Number(card.dataset[order.replace("-", "")]);
  for (const cases of document.querySelectorAll(".cases")) {
    const cards = [...cases.children];
    cards.forEach((card, place) => { card.dataset.place ??= place; card.hidden = of !== "" && card.dataset.truth !== of && card.dataset.label !== of; });
    cases.append(...cards.sort((a, b) => (order ? key(a) - key(b) : 0) || a.dataset.place - b.dataset.place));
  }
}

for (const [name, heading, , isNumber] of SHOWN) {
  const head = element("th", "", isNumber ? "number" : "");
  const button = element("button", heading);
  button.type = "button";
  button.addEventListener("click", () => {
    const sort = readState().get("sort") || "row";
    writeState({ sort: sort === name ? "-" + name : name, page: "" });
  });
  head.scope = "col";
  head.append(button);
  document.querySelector("#row-table thead tr").append(head);
}
for (const name of ["truth", "label"]) {
  rowForm.elements[name].append(...table.labels.map((text, place) => new Option(text, place)));
}
rowForm.addEventListener("submit", (event) => event.preventDefault());
rowForm.addEventListener("reset", (event) => { event.preventDefault(); history.replaceState(null, "", "#rows"); showRows(); });
rowForm.addEventListener("input", (event) => writeState({ [event.target.name]: event.target.value, page: "" }));

const pictureForm = document.getElementById("picture-controls");
pictureForm.hidden = false;
pictureForm.addEventListener("input", () => showPictures(pictureForm));
const looked = pictureForm.elements.looked;  // there is none where it is not known where the agents looked
if (looked) looked.addEventListener("input", () => {
  document.documentElement.style.setProperty("--looked", looked.value / 100);
  looked.setAttribute("aria-valuetext", looked.value === "0" ? "not shown" : `${looked.value} percent`);
});

window.addEventListener("hashchange", () => {
  showRows();
  if (location.hash.includes("=")) document.getElementById("rows").scrollIntoView();
});
showRows();
if (location.hash.includes("=")) document.getElementById("rows").scrollIntoView();
