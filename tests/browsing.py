"""Opening pages in a headless Chromium that reaches nothing but this machine, and asking about them."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Browser, Page, Request, Route

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
LOOK = Path(__file__).with_suffix(".js")
# As a pattern, which Chromium's driver matches by itself: a function here would be asked about every request.
NOT_OURS = re.compile(r"^(?!http://127\.0\.0\.1:|file:|data:|blob:)")


@dataclass
class Visit:
    """One page in a window of its own, and what went wrong or was loaded while it was open."""

    page: Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    loaded: list[Request] = field(default_factory=list)

    def weights(self) -> dict[str, int]:
        """The bytes of each thing that a server sent; they are not asked for while the page may be closed."""
        return {r.url: r.sizes()["responseBodySize"] for r in self.loaded if r.url.startswith("http")}

    def ask(self, question: str) -> list[str]:
        """Ask `look.js`."""
        found: list[str] = self.page.evaluate(question)
        return found


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone, and give its address."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


Opener = Callable[..., Visit]


def open_page(browser: Browser, url: str, *, width: int = 1280, theme: str = "light") -> Visit:
    """Open a page in a window of its own, which the caller closes with ``visit.page.context.close()``.

    Args:
        browser: Chromium.
        url: Of this machine, or of a file.
        width: Of the window.
        theme: Which colours the reader's system asks for, ``"light"`` or ``"dark"``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    seen = Visit(page)

    def refuse(route: Route) -> None:
        seen.outside.append(route.request.url)
        route.abort()

    context.route(NOT_OURS, refuse)

    def failed(request: Request) -> None:
        # Aborted: what a page that is being left had asked for, and HEAD, whose answer has no body.
        if request.failure != "net::ERR_ABORTED":
            seen.errors.append(f"failed: {request.url}")

    page.on("requestfailed", failed)
    page.on("pageerror", lambda error: seen.errors.append(f"error: {error}"))
    page.on(
        "console", lambda said: seen.errors.append(said.text) if said.type in ("error", "warning") else None
    )
    page.on("requestfinished", lambda request: seen.loaded.append(request))
    page.add_init_script(path=LOOK)
    page.goto(url, wait_until="load")
    page.evaluate("() => document.fonts.ready.then(() => undefined)")
    return seen


def axe(seen: Visit, *, colours_only: bool = False) -> list[str]:
    """What axe finds serious or critical in the page as it stands, a line each."""
    if not seen.page.evaluate("'axe' in window"):
        seen.page.add_script_tag(path=AXE)
    found = seen.page.evaluate("colours => look.violations(colours)", colours_only)
    return [
        f"{v['rule']} ({v['impact']}) at {v['at']}: {v['why']}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
