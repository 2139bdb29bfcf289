// The theme takes the focus from its buttons once they are pressed, so that a label shown beside them vanishes
// (sphinx-book-theme, pull request 484). Who pressed one with the keyboard gets it back: at once, or when the
// window that the button opened is closed.
"use strict";

{
  let pressed = null;
  const giveBack = () => setTimeout(() => document.querySelector("dialog[open]") || pressed?.focus());

  document.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest?.("button");
      if (!button || button.closest("dialog")) return;
      pressed = event.detail === 0 ? button : null; // a click of the mouse counts at least 1
      if (pressed) giveBack();
    },
    true,
  );
  document.addEventListener("close", giveBack, true);
}

// A formula that is wider than its page scrolls sideways: only then is it a stop for the keyboard.
{
  const reach = (formula) => {
    const wide = formula.scrollWidth > formula.clientWidth + 1; // sizes are rounded
    if (wide === formula.hasAttribute("tabindex")) return;
    formula.toggleAttribute("tabindex", wide);
    if (!wide) {
      formula.removeAttribute("role");
      formula.removeAttribute("aria-label");
      return;
    }
    formula.tabIndex = 0;
    formula.setAttribute("role", "group");
    formula.setAttribute("aria-label", "Formula, scrolls sideways");
  };
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => reach(target)));
  document.addEventListener("DOMContentLoaded", () => {
    // Their sizes change with the window, or with something folded around them; each is looked at once at first.
    for (const formula of document.querySelectorAll("div.math")) sizes.observe(formula);
  });
  document.fonts.addEventListener("loadingdone", () => document.querySelectorAll("div.math").forEach(reach));
}
