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
