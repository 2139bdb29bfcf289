// What a page does by itself, without a network: show or hide all code, filter and sort the ledger.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  codeSwitch(document.querySelectorAll(".bd-article details.hide.above-input"));
  const form = document.querySelector("form.sl-filter");
  if (form) ledger(form, document.querySelector("table.sl-ledger"));
  for (const card of document.querySelectorAll(".sl-card[data-bounds]")) cardMargin(card);
  for (const link of document.querySelectorAll("a.sl-address")) {
    // Where the book is read is known only here, unless its page names where it is published.
    const published = document.querySelector("link[rel=canonical]")?.href ?? location.href;
    const address = new URL(link.hash, published);
    address.search = "";
    link.textContent = link.href = address;
  }
});

// One switch for the code of a chapter; the next chapter remembers it.
function codeSwitch(cells) {
  if (!cells.length) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sl-code-switch";
  const set = (shown) => {
    for (const cell of cells) cell.open = shown;
    document.documentElement.classList.toggle("sl-no-code", !shown);
    label(shown);
  };
  const label = (shown) => (button.textContent = shown ? "Hide all code" : "Show all code");
  button.addEventListener("click", () => {
    const shown = button.textContent.startsWith("Show");
    localStorage.setItem("sl-code", shown ? "shown" : "hidden");
    set(shown);
  });
  const chosen = localStorage.getItem("sl-code");
  if (chosen) set(chosen === "shown");
  else label(false);
  document.querySelector(".bd-article .sl-header")?.after(button);
}

// A reader's own margin, as a multiple of each claim's: decides anew by the rules of method.md.
function decide(bounds, margin, against = "contradicted") {
  const [low, high, least, most] = bounds.split(" ").slice(0, 4).map(Number);
  const inside = -margin < low && high < margin;
  if (bounds.endsWith("equivalent")) {
    return inside ? "supported" : low > margin || high < -margin ? against : "inconclusive";
  }
  if (low > margin && least > margin) return "supported";
  if (high < -margin && most < -margin) return against;
  return inside ? "negligible" : "inconclusive";
}

// Make a badge say another verdict.
function showVerdict(badge, verdict, badges) {
  const [sign, word] = badges[verdict];
  badge.className = `sl-badge sl-${verdict}`;
  badge.querySelector(".sl-mark").textContent = sign;
  badge.lastChild.textContent = ` ${word}`;
}

// A card's own slider, in its fold. The badge on the card's face stays: that verdict is the book's.
function cardMargin(card) {
  const { badges, against, margin, unit } = JSON.parse(card.dataset.own);
  const [part, name, slider, output, said] = ["p", "label", "input", "output", "span"].map((tag) =>
    document.createElement(tag),
  );
  part.className = "sl-own";
  Object.assign(slider, { type: "range", min: -2, max: 2, step: 0.25, value: 0 });
  name.append("Your margin ", slider);
  said.hidden = true;
  said.append("With it the claim would be ", document.createElement("span"));
  said.append(". This verdict is yours, not the book’s.");
  part.append(name, " ", output, " ", said);
  const badge = said.querySelector("span");
  badge.innerHTML = '<span class="sl-mark" aria-hidden="true"></span> ';
  const plot = card.querySelector(".sl-plot");
  const band = plot.querySelector(".sl-band");
  const width = parseFloat(band.getAttribute("width")) / 2;
  const centre = parseFloat(band.getAttribute("x")) + width;
  const edges = [-1, 1].map((side) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "sl-yours-edge");
    line.setAttribute("y1", 2);
    line.setAttribute("y2", 42);
    return [line, side];
  });
  slider.addEventListener("input", () => {
    const times = 2 ** Number(slider.value);
    const own = times !== 1;
    show(times);
    said.hidden = !own;
    if (own) showVerdict(badge, decide(card.dataset.bounds, times, against), badges);
    for (const [line, side] of edges) {
      for (const x of ["x1", "x2"]) line.setAttribute(x, `${centre + side * times * width}%`);
      if (own) plot.append(line);
      else line.remove();
    }
  });
  const show = (times) => {
    const size = Number((times * margin).toPrecision(3));
    output.value = `${size}${unit}, ${Number(times.toPrecision(3))} × the claim’s own`;
  };
  show(1);
  card.querySelector(".sl-facts").after(part);
}

function ledger(form, table) {
  const claims = [...table.querySelectorAll("tr.sl-claim")];
  const home = new Map(claims.map((row) => [row, row.parentElement]));
  const text = new Map(claims.map((row) => [row, row.textContent.toLowerCase()]));
  const bodies = [...table.tBodies];
  const sorted = table.createTBody();
  const shown = form.querySelector("#sl-shown");
  const nothing = document.querySelector(".sl-nothing");
  const rank = Object.fromEntries(
    [...form.querySelectorAll("input[name=verdict]")].map((box, place) => [box.value, place]),
  );
  const orders = {
    verdict: (a, b) => rank[a.dataset.verdict] - rank[b.dataset.verdict],
    effect: (a, b) => size(b) - size(a),
    id: (a, b) => (a.id < b.id ? -1 : 1),
  };

  const size = (row) => (row.dataset.effect === "" ? -Infinity : Number(row.dataset.effect));

  function apply() {
    ownMargin();
    const choice = new FormData(form);
    const verdicts = choice.getAll("verdict");
    const words = choice.get("find").toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) =>
      (!verdicts.length || verdicts.includes(row.dataset.verdict)) &&
      ["section", "kind"].every((key) => !choice.get(key) || choice.get(key) === row.dataset[key]) &&
      words.every((word) => text.get(row).includes(word));
    const visible = claims.filter(fits);
    for (const row of claims) row.hidden = !visible.includes(row);
    arrange(choice.get("sort"), visible);
    shown.value = `${visible.length} of ${claims.length} claims`;
    nothing.hidden = visible.length > 0;
    remember(choice);
  }

  function arrange(order, visible) {
    const flat = order in orders;
    if (flat) sorted.append(...[...claims].sort(orders[order]));
    else for (const row of claims) home.get(row).append(row);
    const everything = visible.length === claims.length;
    const kept = (body) =>
      body.className === ""
        ? visible.some((row) => home.get(row) === body) || (everything && body.querySelector(".sl-again"))
        : visible.some((row) => body.dataset.name === row.dataset[body.className.replace("sl-", "")]);
    for (const body of bodies) body.hidden = flat || !kept(body);
    for (const row of table.querySelectorAll(".sl-again")) row.hidden = !everything;
  }

  function remember(choice) {
    const query = new URLSearchParams([...choice].filter(([name, value]) => value && value !== "review"));
    const address = new URL(location.href);
    address.search = query;
    history.replaceState(null, "", address);
  }

  function recall() {
    for (const [name, value] of new URLSearchParams(location.search)) {
      const field = form.elements[name];
      if (name === "verdict") {
        for (const box of form.querySelectorAll("input[name=verdict]")) box.checked ||= box.value === value;
      } else if (field && [...(field.options || [{ value }])].some((option) => option.value === value)) {
        field.value = value;
      }
    }
  }

  const slider = form.querySelector("#sl-margin");
  const badges = JSON.parse(slider.dataset.badges);
  const decided = claims.filter((row) => row.dataset.bounds);
  const published = new Map(decided.map((row) => [row, row.dataset.verdict]));

  function ownMargin() {
    const margin = 2 ** Number(slider.value);
    const own = margin !== 1;
    for (const row of decided) {
      const verdict = own ? decide(row.dataset.bounds, margin, row.dataset.against) : published.get(row);
      if (verdict === row.dataset.verdict) continue;
      row.dataset.verdict = verdict;
      showVerdict(row.querySelector("a.sl-badge"), verdict, badges);
    }
    const changed = decided.filter((row) => row.dataset.verdict !== published.get(row)).length;
    const times = `${Number(margin.toPrecision(3))} × each claim’s own`;
    form.querySelector("#sl-factor").value = own ? `${times}: ${changed} verdicts change` : times;
    form.querySelector(".sl-yours").hidden = !own;
  }

  form.hidden = false;
  recall();
  apply();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply)); // the fields are emptied after this event
  form.addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", () => form.reset());
  window.addEventListener("hashchange", () => {
    // A link to a claim that the filter hides shows it.
    const row = document.getElementById(location.hash.slice(1));
    if (row?.hidden || row?.closest("tbody")?.hidden) {
      form.reset();
      setTimeout(() => row.scrollIntoView());
    }
  });
}
