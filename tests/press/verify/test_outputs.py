"""Whatever a page shows beside its cards is held to a second execution: text, tables and figures."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin
from tiny_project import card, make_project, read, write_chapter, write_notebook

from surveylab.claims import Evidence, judge, load_claims, render_markdown
from surveylab.press.cli import execute
from surveylab.press.verify.outputs import SIMILAR, Rule, differences, similar, widest
from surveylab.press.verify.timed import timed_cells

EXACT = Rule(numbers=True, pixels=True, widths={})
CLOSE = Rule(numbers=False, pixels=False, widths={"percentage points": 4.0}, close=True)
ELSEWHERE = Rule(numbers=False, pixels=False, widths={"percentage points": 4.0, "octaves": 0.5})

# ------------------------------------------------------------------------------------------ texts


def notebook(*cells: list[dict[str, str]], source: str = "show()") -> Any:
    """A notebook whose cells show these data."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{n}",
                "metadata": {},
                "source": source,
                "outputs": [{"output_type": "display_data", "data": d, "metadata": {}} for d in shown],
            }
            for n, shown in enumerate(cells)
        ]
    }


def told(before: str, now: str, rule: Rule, kind: str = "text/markdown") -> list[str]:
    return differences(notebook([{kind: before}]), notebook([{kind: now}]), rule)


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "text/html", "image/svg+xml"])
def test_on_the_same_machine_every_character_counts(kind: str) -> None:
    assert told("within 128 steps", "within 128 steps", EXACT, kind) == []
    assert told("within 28 steps", "within 128 steps", EXACT, kind) == [
        "cell 1 (cell-0): published 'within 28 steps', executed again 'within 128 steps'"
    ]
    assert told("| 52 of 4 | 1588 of 6 |", "| 52 of 4 | 1388 of 6 |", EXACT, kind) == [
        "cell 1 (cell-0): published '| 52 of 4 | 1588 of 6 |', executed again '| 52 of 4 | 1388 of 6 |'"
    ]


def test_where_an_object_lies_in_memory_is_no_difference() -> None:
    assert told("<Axes at 0x7f0123456789>", "<Axes at 0x7fabcdefabcd>", EXACT) == []


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("The loss falls by 0.5.", "The loss rises by 0.5."),
        ("best: IN", "best: LN"),
        ("within 128 steps", "within 28 steps"),
        ("the norm is 2.4", "the norm is −2.4"),
        ("3 of 24 runs", "3 of 32 runs"),
        ("0 of 24 runs", "12 of 24 runs"),
        ("it reaches 94.1 %", "it reaches 54.1 %"),
        ("by +0.3 octaves", "by +0.9 octaves"),
        ("error 2.3×10⁻⁶", "error 2.3×10⁻⁴"),
        ("torch 2.13.0", "torch 2.14.0"),
        ("a b", "a b c"),
    ],
)
def test_elsewhere_words_are_equal_and_numbers_within_their_spread(before: str, now: str) -> None:
    for first, second in ((before, now), (now, before)):
        (said,) = told(first, second, ELSEWHERE)
        assert said.startswith("cell 1 (cell-0): published '") and "executed again '" in said


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("within 136 steps", "within 168 steps"),
        ("3 of 24 runs", "6 of 24 runs"),
        ("0 of 24 runs", "1 of 24 runs"),
        ("1388 of 6, 4 of 8", "1388 of 6, 4 of 8"),
        ("it reaches 94.1 %", "it reaches 90.2 %"),
        ("by +0.3 octaves", "by −0.1 octaves"),
        ("at worst 0.0007", "at worst 0.0003"),
        ("error 2.3×10⁻⁶", "error 9×10⁻⁷"),
        ("a  b\nc", "a b c"),
        ("−0.2", "−0.1"),
    ],
)
def test_elsewhere_what_training_moves_is_no_alarm(before: str, now: str) -> None:
    for first, second in ((before, now), (now, before)):
        assert told(first, second, ELSEWHERE) == []


@pytest.mark.parametrize(
    ("before", "now", "agree"),
    [
        ("it reaches 94.1 %", "it reaches 94.2 %", True),
        ("it reaches 94.1 %", "it reaches 94.3 %", False),
        ("within 136 steps", "within 137 steps", False),
        ("3 of 24 runs", "4 of 24 runs", False),
        ("error 2.3×10⁻⁶", "error 2.4×10⁻⁶", True),
        ("error 2.3×10⁻⁶", "error 9×10⁻⁷", False),
    ],
)
def test_where_the_arithmetic_agrees_only_a_last_digit_may_move(before: str, now: str, agree: bool) -> None:
    assert (told(before, now, CLOSE) == []) is agree


def test_elsewhere_a_whole_number_without_a_unit_moves_by_a_tenth() -> None:
    assert told("| rows | 136 |", "| rows | 149 |", ELSEWHERE) == []
    assert len(told("| rows | 136 |", "| rows | 168 |", ELSEWHERE)) == 1
    assert told("| rows | 3 |", "| rows | 4 |", ELSEWHERE) == []


def test_the_number_is_shown_that_is_too_far_away() -> None:
    assert told("loss 0.5 and 12 steps", "loss 0.49 and 2 steps", ELSEWHERE) == [
        "cell 1 (cell-0): published 'loss 0.5 and 12 steps', executed again 'loss 0.49 and 2 steps'"
    ]


def test_the_widest_interval_of_a_unit_is_its_spread() -> None:
    claims = [("a", [[2.0, 4.0] * 4] * 3), ("b", [[2.9, 3.1] * 4] * 3)]
    found = {}
    for name, values in claims:
        claim = example(name)
        found[name] = judge(claim, values, profile="standard", seed=0, data=None)
    assert found["a"].high is not None and found["a"].low is not None
    assert widest(found) == {"points": found["a"].high - found["a"].low}


def example(name: str) -> Any:
    from surveylab.claims import Claim

    given = {"effect": "gain", "unit": "points", "margin": 1.0, "why": "a point"}
    return Claim(id=name, says="It gains.", chapter="demo/one", kind="experiment", **given)  # type: ignore[arg-type]


def test_times_are_compared_by_their_words() -> None:
    timed = Rule(numbers=True, pixels=True, widths={}, timed=frozenset({"cell-0"}))
    assert told("takes 1.10 of LN", "takes 12 of LN", timed) == []
    assert len(told("takes 1.10 of LN", "takes 1.10 of GN", timed)) == 1


def test_outputs_that_are_missing_or_of_another_kind() -> None:
    text, table = {"text/plain": "a"}, {"text/html": "a"}
    assert differences(notebook([text, text]), notebook([text]), EXACT) == [
        "cell 1 (cell-0): 2 outputs beside cards are published, executed again it shows 1"
    ]
    assert differences(notebook([text]), notebook([table]), EXACT) == [
        "cell 1 (cell-0): published as text/plain, executed again as text/html"
    ]
    # Another source is said elsewhere.
    assert differences(notebook([text]), notebook([], source="x"), EXACT) == []


def test_of_many_differences_some_are_told() -> None:
    before, now = notebook(*[[{"text/plain": "a"}]] * 8), notebook(*[[{"text/plain": "b"}]] * 8)
    said = differences(before, now, EXACT)
    assert len(said) == 6 and said[-1] == "and 3 more outputs differ"


# ------------------------------------------------------------------------------------------ figures


def drawing(seed: int = 0, *, size: tuple[int, int] = (560, 336), jitter: float = 0.0) -> Image.Image:
    """A plot of sorts: axes, labels, a rising line and dots around it, each moved a little."""
    random, moved = np.random.default_rng(0), np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.rectangle((50, 20, width - 20, height - 50), outline="black")
    draw.text((60, height - 40), "steps", fill="black")
    draw.text((4, 30), "loss", fill="black")
    for n in range(60):
        x = 60 + n * (width - 100) / 60
        y = height - 70 - n * (height - 120) / 60 + 12 * random.standard_normal()
        x, y = x + jitter * moved.standard_normal(), y + jitter * moved.standard_normal()
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="navy")
    return image


def png(image: Image.Image, software: str = "Matplotlib 3") -> str:
    made, out = PngImagePlugin.PngInfo(), io.BytesIO()
    made.add_text("Software", software)
    image.save(out, "PNG", pnginfo=made)
    return base64.b64encode(out.getvalue()).decode()


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def drawn(before: str, now: str, rule: Rule) -> list[str]:
    return told(before, now, rule, "image/png")


def test_a_figure_on_the_same_machine_is_the_same_to_the_pixel() -> None:
    image = drawing()
    assert drawn(png(image), png(image), EXACT) == []
    touched = image.copy()
    touched.putpixel((200, 100), (255, 0, 0))
    assert drawn(png(touched), png(image), EXACT) == [
        "cell 1 (cell-0): 1 pixels of the figure are not those of a second execution on the same arithmetic"
    ]
    # Another version of the software that draws is another machine, for figures.
    assert drawn(png(touched), png(image, "Matplotlib 4"), EXACT) == []
    assert len(drawn(png(mirrored(image)), png(image, "Matplotlib 4"), EXACT)) == 1


def test_another_version_of_what_draws_does_not_switch_the_comparison_off() -> None:
    """The version stands in the picture itself, where anyone can write another."""
    image, moved = drawing(), drawing(1, jitter=4)
    assert drawn(png(image), png(moved), ELSEWHERE) == []
    for rule in (EXACT, CLOSE):
        (said,) = drawn(png(moved, "Matplotlib 0"), png(image), rule)
        assert said.endswith("at least 0.9 expected; published as drawn by Matplotlib 0, now by Matplotlib 3")


@pytest.mark.parametrize("rule", [EXACT, ELSEWHERE])
def test_a_mirrored_figure_is_named(rule: Rule) -> None:
    image = drawing()
    for forged in (mirrored(image), image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)):
        (said,) = drawn(png(forged), png(image), rule)
        assert "figure" in said


def test_of_a_figure_that_is_nearly_symmetric_the_mirror_image_is_named() -> None:
    image = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(image)
    for n in range(12):
        for m in range(12):
            x, y = 26 + 30 * n, 26 + 30 * m
            draw.rectangle((x, y, x + 17, y + 17), fill="navy")
    draw.rectangle((26, 26, 43, 43), fill="orange")
    pixels = np.asarray(image.convert("RGBA"))
    assert similar(pixels, pixels[:, ::-1]) > SIMILAR
    (said,) = drawn(png(mirrored(image)), png(image), ELSEWHERE)
    assert said.endswith("the figure is more like the mirror image of a second execution than like it")


def test_elsewhere_dots_may_move() -> None:
    image = drawing()
    for seed in range(3):
        assert drawn(png(image), png(drawing(seed, jitter=4)), ELSEWHERE) == []
    assert similar(*(np.asarray(i.convert("RGBA")) for i in (image, mirrored(image)))) < SIMILAR


def test_a_figure_of_another_size_or_none_at_all() -> None:
    (said,) = drawn(png(drawing()), png(drawing(size=(480, 336))), ELSEWHERE)
    assert said.endswith("the published figure has 560×336 pixels, executed again 480×336")
    (said,) = drawn(base64.b64encode(b"no picture").decode(), png(drawing()), EXACT)
    assert "a figure cannot be read" in said


def test_a_timed_figure_is_compared_by_what_it_shows() -> None:
    timed = Rule(numbers=True, pixels=True, widths={}, timed=frozenset({"cell-0"}))
    assert drawn(png(drawing()), png(drawing(1, jitter=4)), timed) == []
    assert len(drawn(png(mirrored(drawing())), png(drawing()), timed)) == 1


# ------------------------------------------------------------------------------------------ times

CLOCK = """\
import time


def seconds(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("package") / "tinylib"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from tinylib.clock import seconds\nfrom tinylib.method import gain\n"
    )
    (folder / "clock.py").write_text(CLOCK)
    (folder / "method.py").write_text("def gain():\n    return 1\n")
    return {"tinylib": folder}


@pytest.mark.parametrize(
    ("cells", "timed"),
    [
        (["import tinylib", "tinylib.gain()"], []),
        (["import tinylib", "tinylib.seconds(f)", "x = 1"], [1]),
        (
            ["import tinylib as t", "a = t.seconds(f)", "b = a / 2", "print(b)", "b = 1", "print(b)"],
            [1, 2, 3],
        ),
        (["from tinylib import seconds", "def f():\n    return seconds(g)", "print(f())"], [1, 2]),
        (["import time\nt = time.time()", "print(t)"], [0, 1]),
        (["from tinylib import seconds", "d = {}", "d['a'] = seconds(f)", "print(d)", "print(c)"], [2, 3]),
        (
            [
                "from tinylib import seconds",
                "told = []",
                "for x in [seconds(f)]:\n    told.append(x)",
                "told",
            ],
            [2, 3],
        ),
        (
            ["from tinylib import seconds", "if seconds(f) > 1:\n    x = 1\nelse:\n    x = 2", "print(x)"],
            [1, 2],
        ),
        (["from tinylib import seconds", "for _ in r:\n    print(y)\n    y = seconds(f)", "y"], [1, 2]),
        (["from tinylib import seconds", "with seconds(f) as (a, *b):\n    pass", "print(b)"], [1, 2]),
        (["from tinylib import seconds", "try:\n    a = seconds(f)\nexcept E:\n    a = 1", "print(z)"], [1]),
        (["from tinylib import seconds", "lab.check('c', seconds(f))", "lab.check('d', 1)"], [1]),
        (["time = 1", "print(time)"], []),
    ],
)
def test_what_follows_from_a_clock_is_found_by_reading(
    cells: list[str], timed: list[int], packages: dict[str, Path]
) -> None:
    code = [{"cell_type": "code", "id": str(n), "source": text} for n, text in enumerate(cells)]
    assert timed_cells({"cells": code}, packages) == {str(n) for n in timed}


# ------------------------------------------------------------------------------------------ a chapter

EXPERIMENTS = 6
CLAIMS = "".join(
    f"- {{id: two-{n}, says: The method gains., kind: experiment, effect: Gain., unit: points, "
    "margin: 1.0, why: A point.}\n"
    for n in range(EXPERIMENTS)
)
CELLS = {
    "begin": "import tinylib\nfrom tinylib.clock import seconds\n"
    "run = tinylib.Run('{chapter}', profile, seed, device)",
    "checks": f"for n in range({EXPERIMENTS}):\n    run.check(f'two-{{n}}', tinylib.gains(10 * seed + n))",
    "prose": "from IPython.display import Markdown, display\n"
    "display(Markdown('Half arrive within 128 steps.<!-- computed -->'))",
    "table": "display(Markdown('| sequences | columns |\\n|---|---|\\n| 1388 | 6 |'))",
    "figure": "%matplotlib inline\nimport matplotlib.pyplot as plt\n"
    "plt.plot([0, 1, 2], [0, 1, 4], 'o-')\nplt.xlabel('steps')\nplt.show()",
    "timed": "print(f'It takes {seconds(lambda: sum(range(1000))):.12f} seconds.')",
    "summary": "from surveylab.claims import render_summary, evidence_of, load_claims, judge\n"
    "found = [judge(load_claims(tinylib.ROOT / 'book/claims')[f'two-{n}'], tinylib.gains(10 * seed + n), "
    f"profile=profile, seed=seed, data=None) for n in range({EXPERIMENTS})]\n"
    "tinylib.show({'text/plain': 'summary', 'text/markdown': render_summary(found)}, {'strategies': {}})",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a chapter that shows all sorts of things. Not to be changed."""
    root = make_project(tmp_path_factory.mktemp("shown"))
    shutil.rmtree(root / "notebooks/demo")
    shutil.rmtree(root / "book/claims/demo")
    (root / "book/claims/demo").mkdir()
    (root / "book/claims/demo/two.yml").write_text(CLAIMS)
    (root / "src/tinylib/clock.py").write_text(CLOCK)
    write_chapter(root, "demo/two", list(CELLS.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURVEYLAB_ROOT", str(root))
        assert execute(["run"]) == 0
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(whole, copy)
    monkeypatch.setenv("SURVEYLAB_ROOT", str(copy))
    monkeypatch.setattr("surveylab.press.run.executor.cores", lambda: 1)
    return copy


def shown(content: Any, name: str) -> list[Any]:
    number = list(CELLS).index(name)
    return next(cell for cell in content["cells"] if cell["id"] == f"code-{number}")["outputs"]


def change(root: Path, *changes: Callable[[Any], None]) -> None:
    page = root / "book/demo/two.ipynb"
    content = read(page)
    for each in changes:
        each(content)
    write_notebook(page, content)


def swap(name: str, old: str, new: str) -> Callable[[Any], None]:
    def do(content: Any) -> None:
        outputs = shown(content, name)
        text = json.dumps(outputs, ensure_ascii=False)
        assert old in text
        outputs[:] = json.loads(text.replace(old, new))

    return do


def mirror(content: Any) -> None:
    (output,) = (o for o in shown(content, "figure") if "image/png" in o.get("data", {}))
    with Image.open(io.BytesIO(base64.b64decode("".join(output["data"]["image/png"])))) as image:
        software = str(image.info["Software"])
        output["data"]["image/png"] = png(mirrored(image), software)


def rename_processor(content: Any) -> None:
    """In both records, as a forger would."""
    content["metadata"]["surveylab"]["machine"]["processor"] = "another"
    for output in shown(content, "begin"):
        output["metadata"]["surveylab"]["run"]["machine"]["processor"] = "another"


def forge(root: Path, claim: str, shift: float) -> Callable[[Any], None]:
    """Add to every value, and rebuild everything that follows from the values: card, interval, summary."""

    def do(content: Any) -> None:
        output = card(content, claim)
        old = Evidence.from_metadata(output["metadata"]["surveylab"])
        assert old.values is not None
        entry = load_claims(root / "book/claims")[claim]
        values = [[value + shift for value in row] for row in old.values]
        new = judge(entry, values, profile=old.profile, seed=old.seed, data=old.data)
        output["metadata"]["surveylab"] = new.to_metadata()
        output["data"]["text/markdown"] = render_markdown(entry, new)
        from surveylab.claims import evidence_of, render_summary

        (summary,) = shown(content, "summary")
        summary["data"]["text/markdown"] = render_summary(evidence_of(content).values())

    return do


@pytest.mark.slow
def test_a_page_with_times_in_it_raises_no_alarm(root, surveylab):
    said = surveylab("verify")
    assert said.code == 0, said.out
    assert "Everything holds." in said.out


TAMPERED = [
    swap("prose", "128", "28"),
    swap("table", "1388", "1588"),
    mirror,
    swap("timed", "takes", "saves"),
]


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same machine", "another by name"])
def test_what_is_tampered_with_is_named(root, surveylab, elsewhere):
    """Another name of the processor hides nothing, where all values agree to the digit."""
    change(root, *TAMPERED, *([rename_processor] if elsewhere else []))
    assert surveylab("verify", "--recompute-only").code == 0
    said = surveylab("verify", "--report", str(root / "report.json"))
    assert said.code == 1
    problems = [p["problem"] for p in json.loads((root / "report.json").read_text())["problems"]]
    assert problems[:2] == [
        "cell 5 (code-2): published 'Half arrive within 28 steps.<!-- computed -->', executed again 'Half "
        "arrive within 128 steps.<!-- computed -->'",
        "cell 6 (code-3): published '…| columns | |---|---| | 1588 | 6 |', executed again '…| columns | "
        "|---|---| | 1388 | 6 |'",
    ]
    assert problems[2].startswith("cell 7 (code-4): ")
    assert "pixels of the figure are not those of a second" in problems[2]
    assert problems[3].startswith("cell 8 (code-5): published 'It saves 0.")
    assert len(problems) == 4


@pytest.mark.slow
def test_a_figure_and_words_are_named_on_a_machine_that_computes_otherwise(root, surveylab, monkeypatch):
    change(root, swap("prose", "128", "28"), mirror)
    monkeypatch.setenv("TINY_CAPABILITY", "B")
    said = surveylab("verify")
    assert said.code == 1
    assert "Half arrive within 28 steps" in said.out and "mirror image" in said.out
    assert said.out.count("  holds") == EXPERIMENTS


@pytest.mark.slow
def test_values_forged_under_another_processors_name_are_named(root, surveylab):
    change(root, forge(root, "two-3", 0.8), rename_processor)
    assert surveylab("verify", "--recompute-only").code == 0
    said = surveylab("verify")
    assert said.code == 1
    assert "two-3: 24 of 24 replicates differ, on average by -0.8 (published mean " in said.out
    assert said.out.count("DIFFERS") == 1
    assert "the machine differs: processor another -> test" in said.out


@pytest.mark.slow
def test_one_value_forged_under_another_processors_name_is_named(root, surveylab):
    """Too little for a test: but all other claims agree to the digit."""

    def one(content: Any) -> None:
        forge(root, "two-3", 0.0)(content)
        output = card(content, "two-3")
        old = Evidence.from_metadata(output["metadata"]["surveylab"])
        assert old.values is not None
        old.values[0][0] += 0.5
        entry = load_claims(root / "book/claims")["two-3"]
        new = judge(entry, old.values, profile=old.profile, seed=old.seed, data=old.data)
        output["metadata"]["surveylab"] = new.to_metadata()
        output["data"]["text/markdown"] = render_markdown(entry, new)

    change(root, one, rename_processor)
    said = surveylab("verify")
    assert said.code == 1
    assert "two-3: 1 of 24 replicates differ" in said.out
    assert "while 5 other experiments of the chapter agree to the digit" in said.out


def test_a_summary_is_held_to_the_evidence(root, surveylab):
    change(root, swap("summary", "two-2` | ✓ supported", "two-2` | ✗ contradicted"))
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1
    assert "summary: line: published '| `two-2` | ✗ contradicted" in said.out


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/javascript"])
def test_a_summary_shows_nothing_besides(root, surveylab, kind):
    """Jupyter shows these before the text, which alone follows from the evidence."""

    def add(content: Any) -> None:
        (summary,) = shown(content, "summary")
        summary["data"][kind] = "all claims are supported"

    change(root, add)
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1
    assert f"summary: it also shows {kind}, which does not follow from the evidence" in said.out
