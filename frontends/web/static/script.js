"use strict";
// What the page does: it takes images and questions to the API and shows what comes back (turns.js).

const AT_ONCE = 4;
const SUGGESTED = ["Why?", "Where did it look?", "Who disagreed?", "How sure?", "Show similar cases", "Look again"];
const by = (id) => document.getElementById(id);
const log = by("log");
const cards = new Map();
const brought = new Map();  // of the images that this page brought: the server keeps none
let current = null;
let limit = Infinity;

class Refusal extends Error {
  constructor(status, words) { super(words); this.status = status; }
}

async function api(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(0, "The server cannot be reached. Is it running, and are you online?");
  }
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  if (response.status === 401) showSignIn();
  throw new Refusal(response.status, body.detail || `The server answered with status ${response.status}.`);
}

const post = (path, body) => api(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
const send = (path, file) => api(path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
const announce = (words) => { by("live").textContent = words; };

function showSignIn() {
  by("desk").hidden = true;
  by("sign-in").hidden = false;
  by("token").focus();
}

by("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await post("/v1/session", { token: by("token").value });
    by("token").value = "";
    by("sign-in").hidden = true;
    start();
  } catch (error) {
    by("sign-in-problem").textContent = error.message;
  }
});

function makeCurrent(diagnosis) {
  current = diagnosis;
  document.body.classList.add("has-turns");
  for (const [id, card] of cards) card.classList.toggle("current", id === diagnosis.id);
  for (const link of by("history").querySelectorAll("a")) link.toggleAttribute("aria-current", link.dataset.id === diagnosis.id);
  by("about").textContent = `${diagnosis.source}: ${diagnosis.page.headline}`;
  by("composer").hidden = false;
  history.replaceState(null, "", `/d/${diagnosis.id}`);
}

function show(card, diagnosis, local) {
  fill(card, diagnosis, local, { cast, share, where: ({ id }) => api(`/v1/diagnoses/${id}/heat`) });
  cards.set(diagnosis.id, card);
  card.addEventListener("focusin", () => { if (current.id !== diagnosis.id) makeCurrent(diagnosis); });
  makeCurrent(diagnosis);
  announce(`${diagnosis.source}: ${diagnosis.page.headline}`);
}

function newCard() {
  const card = make("article", { class: "card" });
  log.append(card);
  document.body.classList.add("has-turns");
  return card;
}

async function diagnose(file) {
  const card = newCard();
  const local = URL.createObjectURL(file);
  const name = file.name || "image";
  waiting(card, name, local);
  card.scrollIntoView({ block: "nearest", behavior: "smooth" });
  try {
    if (file.size > limit) throw new Refusal(413, `${name} has ${file.size.toLocaleString()} bytes; at most ${limit.toLocaleString()} are allowed here.`);
    const diagnosis = await send(`/v1/diagnose?name=${encodeURIComponent(name.slice(-200))}`, file);
    brought.set(diagnosis.id, file);
    show(card, diagnosis, local);
    card.scrollIntoView({ block: "start", behavior: "smooth" });
    await showHistory();
  } catch (error) {
    failed(card, name, error.message);
    announce(`${name}: ${error.message}`);
  }
}

async function take(files) {
  const left = [...files];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left.length) await diagnose(left.shift());
  }));
}

async function open(id) {
  if (cards.has(id)) {
    const card = cards.get(id);
    card.scrollIntoView({ block: "start", behavior: "smooth" });
    card.querySelector("h2").focus({ preventScroll: true });
    return;
  }
  const card = newCard();
  try {
    const diagnosis = await api(`/v1/diagnoses/${id}`);
    show(card, diagnosis, null);
    card.scrollIntoView({ block: "start" });
    card.querySelector("h2").focus({ preventScroll: true });
  } catch (error) {
    failed(card, "This diagnosis", error.message);
  }
}

async function ask(text) {
  const about = current;
  log.append(make("p", { class: "asked", text }));
  const file = /\blook again\b/i.test(text) ? brought.get(about.id) : null;
  try {
    const turn = file ? await send(`/v1/diagnoses/${about.id}/again`, file) : await post(`/v1/diagnoses/${about.id}/questions`, { text });
    log.append(reply(turn));
    if (file) {
      brought.set(turn.diagnosis, file);
      await open(turn.diagnosis);
      await showHistory();
    }
  } catch (error) {
    log.append(make("div", { class: "reply" }, make("p", { class: "bad", text: error.message })));
  }
  log.lastElementChild.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

async function cast(diagnosis, answer, vote) {
  try {
    const turn = await post(`/v1/diagnoses/${diagnosis.id}/feedback`, answer);
    vote.textContent = turn.text;
  } catch (error) {
    vote.textContent = error.message;
  }
}

async function share(diagnosis, button) {
  const link = `${location.origin}/d/${diagnosis.id}`;
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Link copied";
  } catch {  // not allowed, or not over https: it can be copied by hand
    button.replaceWith(make("input", { type: "text", readonly: true, value: link, "aria-label": "Link to this diagnosis", onfocus: (event) => event.target.select() }));
  }
}

async function showHistory() {
  const summaries = await api("/v1/diagnoses");
  by("no-history").hidden = summaries.length > 0;
  by("history").replaceChildren(...summaries.map((summary) => entry(summary, open)));
  if (current) makeCurrent(current);
}

for (const id of ["file", "camera"]) {
  by(id).addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
}
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); take(event.clipboardData.files); } });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dragging"); take(event.dataTransfer.files); });

by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = by("question").value.trim();
  if (!text || !current) return;
  by("question").value = "";
  ask(text);
});
by("suggestions").append(...SUGGESTED.map((text) => make("button", { type: "button", text, onclick: () => ask(text) })));

const scheme = (value) => { document.documentElement.style.colorScheme = value || "light dark"; };
by("theme").addEventListener("click", () => {
  const wasDark = localStorage.scheme ? localStorage.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  scheme(localStorage.scheme = wasDark ? "light" : "dark");
});
scheme(localStorage.scheme);

async function start() {
  try {
    const panel = await api("/v1/panel");
    by("domain").textContent = panel.domain;
    limit = panel.max_bytes;
    by("notice").hidden = panel.notices.length === 0;
    by("notice").replaceChildren(...panel.notices.map((text) => make("p", { text })));
    by("desk").hidden = false;
    await showHistory();
    const id = location.pathname.match(/^\/d\/([\w-]+)$/);
    if (id) await open(id[1]);
  } catch (error) {
    if (error.status !== 401) { by("notice").hidden = false; by("notice").textContent = error.message; }
  }
}
start();
