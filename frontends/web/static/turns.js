"use strict";
// What the page shows: a diagnosis, a question, an answer. Texts are only ever written as texts: names, reasons and labels
// may have been written by anybody.

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else if (name === "css") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function percent(share) {  // what is not quite 0 or 1 never looks as if it were
  if (share === null) return "–";
  if (share <= 0 || share >= 1) return share <= 0 ? "0 %" : "100 %";
  if (share < 0.0005) return "under 0.1 %";
  return share >= 0.9995 ? "over 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

const section = (title, ...children) => make("section", { class: "wide" }, make("h3", { text: title }), ...children);
const bar = (share, colour) => make("div", { class: "track", "aria-hidden": "true" }, make("div", { class: "fill", css: { width: `${100 * share}%`, ...(colour ? { backgroundColor: colour } : {}) } }));
const swatch = (colour) => make("span", { class: "swatch", "aria-hidden": "true", css: { backgroundColor: colour } });

function picture(address, words) {
  const image = make("img", { src: address, alt: words, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "none", text: "no picture" })));
  return image;
}

function verdict(found) {
  const settled = found.verdict === "confident";
  return make("div", { class: `verdict ${found.verdict}` },
    make("h2", { tabindex: "-1" }, settled ? "" : make("span", { text: "Most likely " }), found.label, make("span", { text: `, ${found.words}` })),
    make("span", { class: "badge", text: settled ? "✔ confident" : "⚑ a person must look" }),
    settled || !found.alternatives ? null : make("p", { text: `It could also be ${found.alternatives}.` }));
}

function posterior(found) {
  const bars = found.posterior.map((one) => make("li", {},
    make("div", { class: "row" }, make("span", { text: one.label }), make("span", { class: "value", text: one.words })), bar(one.share, one.colour)));
  const reasons = found.reasons.length ? make("div", { class: "reason" }, make("b", { text: "Why a person should look" }), make("ul", {}, ...found.reasons.map((text) => make("li", { text })))) : null;
  return make("section", {}, make("h3", { text: "How likely" }), make("ul", { class: "bars" }, ...bars), reasons);
}

function look(one) {
  const said = one.outcome === "answered" ? [swatch(one.colour), `${one.label}, ${percent(one.probability)}`] : [one.outcome];
  const trust = one.trust === null ? "–" : `${percent(one.trust.accuracy)} of ${one.trust.n}`;
  const weight = one.weight === null ? [make("span", { text: "–" })] : [make("span", { text: percent(one.weight) }), bar(one.weight)];
  const ece = one.trust === null ? "–" : one.trust.ece.toFixed(3);
  return make("tr", {}, make("th", { scope: "row" }, one.name, one.note ? make("span", { class: "note", text: one.note }) : null),
    make("td", { class: "says" }, ...said), make("td", { class: "weight", "data-name": "weight" }, ...weight),
    make("td", { class: "number", "data-name": "right on", text: trust }), make("td", { class: "number", "data-name": "ECE", text: ece }));
}

function agents(found) {
  const head = [["Agent", ""], ["Says", ""], ["Share of the weight", ""], ["Right on labelled images", "number"], ["ECE", "number"]];
  return section("Who said what, and how much it is trusted",
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The agents" }, make("table", { class: "looks" },
      make("thead", {}, make("tr", {}, ...head.map(([text, kind]) => make("th", { scope: "col", class: kind || null, text, title: text === "ECE" ? "Expected calibration error: how far its confidence is from its accuracy; lower is better" : null })))),
      make("tbody", {}, ...found.looks.map(look)))));
}

function evidence(found) {
  const cases = found.evidence.map((one) => {
    const shown = picture(one.picture, `Known case: ${one.label}`);
    shown.style.borderColor = one.colour;
    return make("li", {}, make("figure", {}, shown, make("figcaption", {}, make("b", { text: one.label }), make("br"), make("span", { class: "soft", text: `similarity ${one.similarity.toFixed(3)}` }))));
  });
  return section("The most similar known cases", make("p", { class: "soft", text: found.novelty_words }), make("ul", { class: "cases" }, ...cases));
}

function way(found) {
  const steps = found.way.map((one) => make("li", {}, make("b", { text: one.title }), ...one.lines.map((text) => make("p", { text }))));
  return make("details", { class: "more wide" }, make("summary", { text: "How it went" }), make("ol", { class: "way" }, ...steps), make("p", { class: "soft", text: found.took }));
}

// `local`: the image as this browser has it, sharper than what the server keeps.
function fill(card, found, local, actions) {
  const address = local || found.picture;
  const shown = address ? picture(address, `The image that was diagnosed, ${found.name}`) : make("div", { class: "none", text: "The image was not kept." });
  card.setAttribute("aria-label", `Diagnosis of ${found.name}: ${found.headline}`);
  card.replaceChildren(verdict(found), make("div", { class: "body" },
    make("figure", { class: "subject" }, shown, make("figcaption", { text: `${found.name} · ${new Date(found.when).toLocaleString()}` })),
    posterior(found), agents(found), evidence(found), section("Why", make("p", { class: "rationale", text: found.rationale })), way(found)), feedback(found, actions));
}

function feedback(found, actions) {
  const said = make("span", { class: "said", role: "status" });
  const mine = found.feedback.find((one) => one.is_mine);
  if (mine) said.textContent = `You said: ${mine.label} (${mine.status})`;
  const labels = found.labels.filter((label) => label !== found.label);
  const menu = make("select", { "aria-label": "Wrong: what it is instead", onchange: () => menu.value && actions.say(found, menu.value, said) },
    make("option", { value: "", text: "Wrong: it is…" }), ...labels.map((label) => make("option", { value: label, text: label })));
  return make("div", { class: "feedback", role: "group", "aria-label": "Is this right?" }, make("span", { text: "Is this right?" }),
    make("button", { type: "button", text: "Right", onclick: () => actions.say(found, null, said) }), labels.length ? menu : null, said, make("span", { class: "spacer" }),
    make("a", { href: `/v1/diagnoses/${found.id}/picture`, target: "_blank", rel: "noopener", text: "As a picture" }),
    make("button", { type: "button", text: "Copy link", onclick: (event) => actions.share(found, event.target) }));
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

function answer(turn) {
  const table = turn.table && make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the answer" }, make("table", {},
    make("thead", {}, make("tr", {}, ...turn.table.columns.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...turn.table.rows.map((row) => make("tr", {}, ...row.map((text, place) => make(place ? "td" : "th", place ? { text } : { scope: "row", text })))))));
  return make("div", { class: "reply" }, make("p", { text: turn.text }), table, turn.picture ? picture(turn.picture, turn.picture_words) : null, turn.closing ? make("p", { text: turn.closing }) : null);
}

function entry(found, open) {
  return make("li", {}, make("a", { href: `/d/${found.id}`, "data-id": found.id, onclick: (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); open(found.id); } } },
    found.picture ? picture(found.picture, "") : make("span", { class: "none" }),
    make("span", {}, make("b", { text: `${found.verdict === "confident" ? "✔" : "⚑"} ${found.label}, ${percent(found.probability)}` }), make("span", { class: "soft", text: `${found.name} · ${new Date(found.when).toLocaleString([], { dateStyle: "short", timeStyle: "short" })}` }))));
}
