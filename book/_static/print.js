// Paper is white: a page in the dark theme is printed in the light one.
(() => {
  const root = document.documentElement;
  let shown;
  addEventListener("beforeprint", () => {
    shown = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    if (shown !== undefined) root.dataset.theme = shown;
  });
})();
