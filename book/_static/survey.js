// What a page does by itself, without a network: show or hide all code, filter and sort the ledger.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  codeSwitch(document.querySelectorAll(".bd-article details.hide.above-input"));
  const form = document.querySelector("form.sl-filter");
  if (form) ledger(form, document.querySelector("table.sl-ledger"));
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

  // A reader's own margin, as a multiple of each claim's: decides anew by the rules of method.md.
  const slider = form.querySelector("#sl-margin");
  const badges = JSON.parse(slider.dataset.badges);
  const decided = claims.filter((row) => row.dataset.bounds);
  const published = new Map(decided.map((row) => [row, row.dataset.verdict]));

  function decide(row, margin) {
    const [low, high, least, most] = row.dataset.bounds.split(" ").slice(0, 4).map(Number);
    const inside = -margin < low && high < margin;
    const against = row.dataset.against || "contradicted";
    if (row.dataset.bounds.endsWith("equivalent")) {
      return inside ? "supported" : low > margin || high < -margin ? against : "inconclusive";
    }
    if (low > margin && least > margin) return "supported";
    if (high < -margin && most < -margin) return against;
    return inside ? "negligible" : "inconclusive";
  }

  function ownMargin() {
    const margin = 2 ** Number(slider.value);
    const own = margin !== 1;
    for (const row of decided) {
      const verdict = own ? decide(row, margin) : published.get(row);
      if (verdict === row.dataset.verdict) continue;
      row.dataset.verdict = verdict;
      const badge = row.querySelector("a.sl-badge");
      badge.className = `sl-badge sl-${verdict}`;
      const [sign, word] = badges[verdict];
      badge.querySelector(".sl-mark").textContent = sign;
      badge.lastChild.textContent = ` ${word}`;
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
