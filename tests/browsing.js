// What the browser tests ask a page, beside what axe asks. Put into each page before its own scripts; see browsing.py.
"use strict";

window.look = (() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const visible = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;

  /** An element in the words of a selector, with the beginning of its text. */
  function name(element) {
    const id = element.id ? `#${element.id}` : "";
    const classes = [...element.classList].slice(0, 3).map((word) => `.${word}`).join("");
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    return `${element.localName}${id}${classes}${text ? ` “${text}”` : ""}`;
  }

  /** What sticks out to the right of the window, if the page scrolls sideways. */
  function sideways() {
    const width = document.documentElement.clientWidth;
    if (document.scrollingElement.scrollWidth <= width) return [];
    const clipped = (element) => {
      for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
        if (getComputedStyle(box).overflowX !== "visible") return true;
      }
      return false;
    };
    const out = all("body *").filter(
      (element) => visible(element) && element.getBoundingClientRect().right > width + 0.5 && !clipped(element),
    );
    const innermost = out.filter((element) => !out.some((other) => other !== element && element.contains(other)));
    const wide = `${document.scrollingElement.scrollWidth} px wide in a window of ${width}`;
    return [wide, ...innermost.slice(0, 5).map(name)];
  }

  /** Images without a text that says what they show. */
  function images() {
    const silent = (element) =>
      ["none", "presentation"].includes(element.getAttribute("role")) || element.closest("[aria-hidden=true]");
    const poor = (text) =>
      /\.(png|svg|jpe?g|gif|webp)\b|[0-9a-f]{12,}|_images\//i.test(text) || (text.match(/\p{L}{2,}/gu) ?? []).length < 3;
    const label = (svg) => svg.getAttribute("aria-label") ?? svg.querySelector(":scope > title")?.textContent ?? "";
    const named = (svg) => svg.closest("button, a")?.matches("[aria-label], [title]");
    return [
      ...all("img").filter((img) => !silent(img) && poor(img.alt)).map((img) => `img alt=“${img.alt}” ${img.src.slice(-50)}`),
      ...all("img").filter((img) => img.complete && !img.naturalWidth).map((img) => `img that shows nothing: ${img.src}`),
      ...all("svg").filter((svg) => !silent(svg) && !named(svg) && poor(label(svg))).map((svg) => `${name(svg)} aria-label=“${label(svg)}”`),
    ];
  }

  /** Formulas that are not typeset, or only as an error. */
  function mathematics() {
    const text = document.body.cloneNode(true);
    all("script, style, pre, code, textarea, .math math", text).forEach((element) => element.remove());
    const raw = text.textContent.match(/.{0,20}(\\\(|\\\[|\$\$|\\begin\{|\\frac|\\mathrm|Math input error).{0,20}/);
    return [
      ...(raw ? [`raw: ${raw[0]}`] : []),
      ...all(".math").filter((element) => !element.querySelector("math")).map((element) => `not typeset: ${name(element)}`),
      ...all("math").filter((element) => visible(element.parentElement) && !element.getBoundingClientRect().width).map((element) => `empty: ${name(element)}`),
    ];
  }

  // ---- walking with the keyboard
  const STOPS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex='-1'])";
  let walk;

  /** How an element and what holds it look, as far as a focus could change it. */
  function appearance(element) {
    const parts = [];
    for (const [box, pseudo] of [[element], [element, "::before"], [element, "::after"], [element.parentElement]]) {
      const style = getComputedStyle(box, pseudo);
      parts.push(style.outlineStyle === "none" ? "" : style.outline, style.boxShadow, style.backgroundColor,
        style.borderColor, style.borderWidth, style.color, style.textDecorationLine, style.transform, style.opacity);
    }
    return parts.join("|");
  }

  function startWalk() {
    const stops = all(STOPS).filter((element) => !element.disabled && !element.closest("[inert]") && visible(element));
    walk = { before: new Map(stops.map((stop) => [stop, appearance(stop)])), left: new Set(stops), unseen: [], last: null };
    document.activeElement?.blur();
    scrollTo(0, 0);
    document.addEventListener("focusin", arrive, true);
    return stops.length;
  }

  function arrive({ target }) {
    walk.last = target;
    if (walk.left.delete(target) && appearance(target) === walk.before.get(target)) walk.unseen.push(target);
  }

  const leftToWalk = () => walk.left.size;

  function endWalk() {
    document.removeEventListener("focusin", arrive, true);
    const at = walk.last ? `; the focus is at ${name(walk.last)}` : "";
    return [
      ...[...walk.left].map((stop) => `not reached: ${name(stop)}${at}`),
      ...walk.unseen.map((stop) => `looks the same when focused: ${name(stop)}`),
    ];
  }

  // ---- axe
  /** One element with text for each way in which text looks here: its colours, its size, what lies behind it. */
  function samples() {
    const behind = new Map([[null, ""]]);
    const backdrop = (element) => {
      if (!behind.has(element)) {
        const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element);
        const own = backgroundColor === "rgba(0, 0, 0, 0)" ? "" : backgroundColor;
        behind.set(element, `${backdrop(element.parentElement)}/${own}${backgroundImage === "none" ? "" : "*"}${opacity}`);
      }
      return behind.get(element);
    };
    const kinds = new Map();
    for (const element of all("body *")) {
      if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
      if (!visible(element)) continue;
      const { color, fontSize, fontWeight } = getComputedStyle(element);
      const kind = [color, fontSize, fontWeight, backdrop(element)].join("|");
      if (!kinds.has(kind)) kinds.set(kind, element);
    }
    return [...kinds.values()];
  }

  /** What axe finds: by all its rules, or by those only that colours decide.
   *
   * Most of a page's elements are coloured words of code, and axe asks each what it costs to ask a section. So a contrast
   * is taken once for each kind of text, and while axe runs, words of code that are not asked for theirs are plain text.
   */
  async function violations(onlyColours) {
    const code = all("pre:has(span)").filter((pre) => !pre.querySelector(":not(span)"));
    const words = new Map(code.map((pre) => [pre, pre.cloneNode(true)]));
    const asked = samples();
    for (const element of asked) element.setAttribute("data-look-sample", "");
    for (const span of code.flatMap((pre) => all("span", pre)).reverse()) {
      if (!span.matches(":is([data-look-sample], :has([data-look-sample]))")) span.replaceWith(span.textContent);
    }
    for (const pre of code) pre.normalize();
    axe.configure({ rules: [{ id: "color-contrast", selector: "[data-look-sample]" }] });
    try {
      const only = onlyColours ? { runOnly: ["color-contrast", "link-in-text-block"] } : {};
      const { violations } = await axe.run(document, { resultTypes: ["violations"], preload: false, ...only });
      return violations.flatMap(({ id, impact, nodes }) =>
        nodes.map(({ target, failureSummary }) => ({ rule: id, impact, at: target.join(" "), why: failureSummary })),
      );
    } finally {
      for (const element of asked) element.removeAttribute("data-look-sample");
      for (const [pre, copy] of words) pre.replaceChildren(...copy.childNodes);
    }
  }

  return { samples, sideways, images, mathematics, startWalk, leftToWalk, endWalk, violations };
})();
