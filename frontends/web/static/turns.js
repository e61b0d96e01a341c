"use strict";
// What the page shows: a diagnosis, a question, a reply. Texts are only ever written as texts: names, reasons and labels
// may have been written by anybody.

const GREY = "#9A9A9A";  // labels for which no colour is left
const MOST_BARS = 10, MOST_CASES = 12;
const PAINTED = 512, STRENGTH = 65;  // pixels of the longer side of what is painted over an image; of its colours, in percent
const STATUS = { waiting: "waiting for review", counts: "the panel can learn from it", refused: "rejected in review", undone: "taken back" };

// Without what would turn the direction of a text or cannot be seen.
const readable = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]|(?!\n)\p{Cc}/gu, "");

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = readable(value);
    else if (name === "css") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null).map((child) => (typeof child === "string" ? readable(child) : child)));
  return made;
}

function percent(share) {  // what is not quite 0 or 1 never looks as if it were
  if (share === null) return "–";
  if (share <= 0 || share >= 1) return share <= 0 ? "0 %" : "100 %";
  if (share < 0.0005) return "under 0.1 %";
  return share >= 0.9995 ? "over 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

const ranked = (posterior) => Object.keys(posterior).sort((a, b) => posterior[b] - posterior[a]);
const section = (title, ...children) => make("section", { class: "wide" }, make("h3", { text: title }), ...children);
const bar = (share, colour) => make("div", { class: "track", "aria-hidden": "true" }, make("div", { class: "fill", css: { width: `${100 * share}%`, ...(colour ? { backgroundColor: colour } : {}) } }));
const swatch = (colour) => make("span", { class: "swatch", "aria-hidden": "true", css: { backgroundColor: colour } });

function picture(address, words) {
  const image = make("img", { src: address, alt: words, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "none", text: "no picture" })));
  return image;
}

function verdict(diagnosis) {
  const settled = diagnosis.verdict === "confident", others = diagnosis.page.alternatives;
  return make("div", { class: `verdict ${diagnosis.verdict}` },
    make("h2", { tabindex: "-1", text: diagnosis.page.title }),
    make("span", { class: "badge", text: settled ? "✔ confident" : "⚑ a person must look" }),
    settled || !others ? null : make("p", { text: `It could also be ${others}.` }));
}

function posterior(diagnosis) {
  const labels = ranked(diagnosis.posterior);
  const shown = labels.length > MOST_BARS ? labels.slice(0, MOST_BARS - 1) : labels, others = labels.slice(shown.length);
  const row = (text, share, colour) => make("li", {}, make("div", { class: "row" }, make("span", { text }), make("span", { class: "value", text: percent(share) })), bar(share, colour));
  const bars = shown.map((label) => row(label, diagnosis.posterior[label], diagnosis.page.colours[label]));
  if (others.length) bars.push(row(`${others.length} others`, Math.min(1, others.reduce((sum, label) => sum + diagnosis.posterior[label], 0)), GREY));
  const reasons = diagnosis.reasons.length ? make("div", { class: "reason" }, make("b", { text: "Why a person should look" }), make("ul", {}, ...diagnosis.reasons.map((reason) => make("li", { text: reason.replace(/\.$/, "") })))) : null;
  const reading = diagnosis.page.reading ? make("p", { class: "reading", text: diagnosis.page.reading }) : null;
  return make("section", {}, make("h3", { text: "How likely" }), make("ul", { class: "bars" }, ...bars), reasons, reading);
}

function prediction(row, diagnosis, total) {
  const shares = row.calibrated || row.probabilities, label = shares && ranked(shares)[0];
  const answer = shares ? [swatch(diagnosis.page.colours[label] || GREY), `${label}, ${percent(shares[label])}`] : [row.error === null ? "abstained" : "failed"];
  const trust = diagnosis.trust.find((earned) => earned.agent === row.agent && earned.stage === row.stage);
  const share = row.weight === null || !total ? null : row.weight / total;
  const weight = share === null ? [make("span", { text: "–" })] : [make("span", { text: percent(share) }), bar(share)];
  const note = row.error || row.rationale;
  return make("tr", {}, make("th", { scope: "row" }, row.stage === "first" ? row.agent : `${row.agent}, second look`, note ? make("span", { class: "note", text: note }) : null),
    make("td", { class: "says" }, ...answer), make("td", { class: "weight", "data-name": "weight" }, ...weight),
    make("td", { class: "number", "data-name": "right on", text: trust ? `${percent(trust.accuracy)} of ${trust.n}` : "–" }), make("td", { class: "number", "data-name": "ECE", text: trust ? trust.ece.toFixed(3) : "–" }));
}

function predictions(diagnosis) {
  const head = [["Agent", ""], ["Says", ""], ["Share of the weight", ""], ["Right on labelled images", "number"], ["ECE", "number"]];
  const total = diagnosis.predictions.reduce((sum, row) => sum + (row.weight || 0), 0);
  return section("What each agent says, and how far it is trusted",
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The agents" }, make("table", { class: "predictions" },
      make("thead", {}, make("tr", {}, ...head.map(([text, kind]) => make("th", { scope: "col", class: kind || null, text, title: text === "ECE" ? "Expected calibration error: how far its confidence is from its accuracy; lower is better" : null })))),
      make("tbody", {}, ...diagnosis.predictions.map((row) => prediction(row, diagnosis, total))))));
}

function evidence(diagnosis) {
  const cases = diagnosis.evidence.neighbours.slice(0, MOST_CASES).map((neighbour, place) => {
    const shown = picture(`/v1/diagnoses/${diagnosis.id}/cases/${place}`, `Known case: ${neighbour.label}`);
    shown.style.borderColor = diagnosis.page.colours[neighbour.label] || GREY;
    return make("li", {}, make("figure", {}, shown, make("figcaption", {}, make("b", { text: neighbour.label }), make("br"), make("span", { class: "soft", text: `similarity ${neighbour.similarity.toFixed(3)}` }))));
  });
  return section("The most similar known cases", make("p", { class: "soft", text: diagnosis.page.novelty }), make("ul", { class: "cases" }, ...cases));
}

function steps(diagnosis) {
  const items = diagnosis.page.steps.map((step) => make("li", {}, make("b", { text: step.title }), ...step.lines.map((text) => make("p", { text }))));
  return make("details", { class: "more wide" }, make("summary", { text: "How it went" }), make("ol", { class: "steps" }, ...items), make("p", { class: "soft", text: diagnosis.page.origin }));
}

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Each place in the colour of the label that it speaks for; the stronger, the less can be seen through it.
function paint(canvas, heat, colours, shown) {
  const cells = make("canvas", { width: heat.cells[0].length, height: heat.cells.length }), context = cells.getContext("2d");
  const pixels = context.createImageData(cells.width, cells.height), [mine, others] = [heat.label, heat.other].map((label) => rgb(colours[label] || GREY));
  heat.cells.flat().forEach((value, at) => pixels.data.set([...(value > 0 ? mine : others), Math.round(255 * Math.abs(value))], 4 * at));
  context.putImageData(pixels, 0, 0);
  const scale = PAINTED / Math.max(shown.naturalWidth, shown.naturalHeight, 1);  // in the shape of the image, however large that is
  canvas.width = Math.max(1, Math.round(scale * shown.naturalWidth));
  canvas.height = Math.max(1, Math.round(scale * shown.naturalHeight));
  canvas.getContext("2d").drawImage(cells, 0, 0, canvas.width, canvas.height);
}

// Where it looked: found out when somebody wants to see it, and painted over the image; the words say it without colours.
function where(diagnosis, shown, actions) {
  const canvas = make("canvas", { "aria-hidden": "true", hidden: true }), words = make("div", { class: "soft", role: "status" });
  const strength = make("input", { type: "range", min: "0", max: "100", value: String(STRENGTH), oninput: () => { canvas.style.opacity = strength.value / 100; } });
  const control = make("label", { hidden: true }, "Strength of the colours", strength);
  canvas.style.opacity = STRENGTH / 100;
  let heat = null;
  const button = make("button", { type: "button", "aria-pressed": "false", text: "Show where it looked", onclick: async () => {
    try {
      if (!heat) { heat = await actions.where(diagnosis); paint(canvas, heat, diagnosis.page.colours, shown); }
    } catch (error) {
      words.textContent = readable(error.message);
      return;
    }
    const isShown = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(isShown));
    canvas.hidden = control.hidden = !isShown;
    const key = [heat.label, heat.other].map((label) => make("span", { class: "key" }, swatch(diagnosis.page.colours[label] || GREY), label));
    words.replaceChildren(...(isShown ? [make("p", {}, ...key), make("p", { text: heat.words })] : []));
  } });
  return [make("div", { class: "seen" }, shown, canvas), make("div", { class: "where" }, button, control, words)];
}

// `local`: the image as this browser has it, sharper than what the server keeps.
function fill(card, diagnosis, local, actions) {
  const address = local || diagnosis.page.picture;
  const shown = address ? where(diagnosis, picture(address, `The image that was diagnosed, ${diagnosis.source}`), actions) : [make("div", { class: "none", text: "The image was not kept." })];
  card.setAttribute("aria-label", `Diagnosis of ${diagnosis.source}: ${diagnosis.page.headline}`);
  card.replaceChildren(verdict(diagnosis), make("div", { class: "body" },
    make("figure", { class: "subject" }, ...shown, make("figcaption", { text: `${diagnosis.source} · ${new Date(diagnosis.when).toLocaleString()}` })),
    posterior(diagnosis), predictions(diagnosis), evidence(diagnosis), section("Why", make("p", { class: "rationale", text: diagnosis.rationale })), steps(diagnosis)), feedback(diagnosis, actions));
}

function feedback(diagnosis, actions) {
  const vote = make("span", { class: "vote", role: "status" });
  const mine = diagnosis.page.feedback.find((vote) => vote.is_mine);
  if (mine) vote.textContent = readable(`You said: ${mine.label} (${STATUS[mine.status]})`);
  const labels = ranked(diagnosis.posterior).filter((label) => label !== diagnosis.label);
  const menu = make("select", { "aria-label": "Wrong: what it is instead", onchange: () => menu.value && actions.cast(diagnosis, { label: menu.value }, vote) },
    make("option", { value: "", text: "Wrong: it is…" }), ...labels.map((label) => make("option", { value: label, text: label })));
  return make("div", { class: "feedback", role: "group", "aria-label": "Is this right?" }, make("span", { text: "Is this right?" }),
    make("button", { type: "button", text: diagnosis.is_novel || diagnosis.unjudgeable ? `It is ${diagnosis.label}` : "Right", onclick: () => actions.cast(diagnosis, { label: null }, vote) }), labels.length ? menu : null,
    make("button", { type: "button", text: "None of these", onclick: () => actions.cast(diagnosis, { label: null, none_of_these: true }, vote) }), vote, make("span", { class: "spacer" }),
    make("a", { href: `/v1/diagnoses/${diagnosis.id}/picture`, target: "_blank", rel: "noopener", text: "As a picture" }),
    make("button", { type: "button", text: "Copy link", onclick: (event) => actions.share(diagnosis, event.target) }));
}

function waiting(card, name, local) {
  card.setAttribute("aria-label", `${name} is being looked at`);
  card.replaceChildren(make("div", { class: "verdict pending" }, make("div", { class: "spinner", "aria-hidden": "true" }), make("h2", { text: "Looking…" })),
    make("div", { class: "body" }, make("figure", { class: "subject" }, picture(local, name), make("figcaption", { text: name }))));
}

function failed(card, name, words) {
  card.setAttribute("aria-label", `${name} was not diagnosed`);
  card.replaceChildren(make("div", { class: "verdict failed" }, make("h2", { tabindex: "-1", text: "No diagnosis" }), make("p", { class: "bad", text: words })));
}

function reply(turn) {
  const table = turn.table && make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the reply" }, make("table", {},
    make("thead", {}, make("tr", {}, ...turn.table.columns.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...turn.table.rows.map((row) => make("tr", {}, ...row.map((text, place) => make(place ? "td" : "th", place ? { text } : { scope: "row", text })))))));
  return make("div", { class: "reply" }, make("p", { text: turn.text }), table, turn.picture ? picture(turn.picture, turn.picture_alt) : null, turn.closing ? make("p", { text: turn.closing }) : null);
}

function entry(summary, open) {
  return make("li", {}, make("a", { href: `/d/${summary.id}`, "data-id": summary.id, onclick: (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); open(summary.id); } } },
    summary.page.picture ? picture(summary.page.picture, "") : make("span", { class: "none" }),
    make("span", {}, make("b", { text: `${summary.verdict === "confident" ? "✔" : "⚑"} ${summary.page.title}` }), make("span", { class: "soft", text: `${summary.source} · ${new Date(summary.when).toLocaleString([], { dateStyle: "short", timeStyle: "short" })}` }))));
}
