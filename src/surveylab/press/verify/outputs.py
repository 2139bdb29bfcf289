"""Comparing what two executions of a chapter show: every text, table and figure, output by output.

Cards and the summary are left out: they follow from the evidence, which is compared claim by claim, and
`surveylab.claims.recompute` holds them to it. Where the arithmetic is the same the rest must be the same to
the last character and pixel, but for times (`surveylab.press.verify.timed`), of which only the words are
compared. Where another version of the software draws, figures are similar by 0.9 or more. Where experiments
agree to a millionth, and not to the digit, a number may differ in its last digit only. Elsewhere

- words are equal;
- of "3 of 24" the 24 is equal, and the 3 within three standard errors of a difference of two such counts;
- another number is within a unit of its last digit, or within the widest interval that the chapter's
  experiments have in a unit that the text names, or, where none is known, within a quarter. Below a
  thousandth, where rounding decides, its order of magnitude is the same. A whole number without a unit is
  within a tenth;
- figures are structurally similar (scikit-image's `structural_similarity`) at an eighth of their size, at
  which it matters what is drawn where, and not which pixel a dot moved to.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from surveylab.claims import Evidence
from surveylab.press.project import Notebook, own_cells, text_of

#: The least structural similarity of two drawings of one figure. Executing a chapter with other instructions
#: of the same processor gave 0.66 to 1, timing its layers again 0.82. Mirrored, 34 of 37 figures have less
#: than 0.5, and three nearly symmetric ones up to 0.66: so it is also asked to which one a figure is closer.
SIMILAR = 0.55
#: The least where the arithmetic agrees, and only another version of the software draws.
ALIKE = 0.9
#: By how much figures are reduced before.
COARSE = 8
# The side of the square over which the similarity of a place is taken, and the grey that counts as white.
_WINDOW, _WHITE = 7, 250
# Of a number of which no spread is known.
SHARE = 0.25
# Of a whole number without a unit, such as stands in a table.
BARE_SHARE = 0.1
# Below this, in absolute value, a number is rounding.
ROUNDING = 1e-3
COUNT_ERRORS = 3.0
# So many differences of one chapter are told in full.
MOST_SHOWN = 5

_NUMBER = re.compile(r"[-+−]?\d+(?:[.,]\d+)*(?:[eE][-+−]?\d+|×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")
_BARE = re.compile(r"\s*(?:[^\w\s%°]|$)")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_PLAIN = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789", ",")
_IMAGES = ("image/png", "image/jpeg")


@dataclass(frozen=True)
class Rule:
    """How the outputs of two executions are compared.

    Args:
        numbers: whether numbers must be equal.
        pixels: whether figures must be.
        widths: for each unit the widest interval that an experiment of the chapter has in it.
        timed: the ids of the cells that show times.
        close: whether the arithmetic agrees, so that a number may differ in its last digit only, and a whole
            number not at all.
    """

    numbers: bool
    pixels: bool
    widths: Mapping[str, float]
    timed: frozenset[str] = frozenset()
    close: bool = False


def widest(evidence: Mapping[str, Evidence]) -> dict[str, float]:
    """The width of the widest interval of the experiments, by unit."""
    found: dict[str, float] = {}
    for e in evidence.values():
        if e.kind == "experiment" and e.unit and e.low is not None and e.high is not None:
            found[e.unit] = max(found.get(e.unit, 0.0), e.high - e.low)
    return found


def differences(published: Notebook, again: Notebook, rule: Rule) -> list[str]:
    """A sentence for each output that a second execution shows otherwise.

    Cells that are not the same in both are passed over: that the page shows another source than it should
    is said elsewhere.
    """
    after = {str(cell.get("id")): cell for cell in own_cells(again)}
    found = []
    for number, cell in enumerate(own_cells(published), start=1):
        other = after.get(str(cell.get("id")))
        if cell["cell_type"] != "code" or other is None or text_of(cell) != text_of(other):
            continue
        where = f"cell {number} ({cell.get('id')})"
        found += [f"{where}: {said}" for said in _cell_differences(cell, other, rule)]
    if len(found) > MOST_SHOWN:
        found = [*found[:MOST_SHOWN], f"and {len(found) - MOST_SHOWN} more outputs differ"]
    return found


def _cell_differences(published: Notebook, again: Notebook, rule: Rule) -> Iterator[str]:
    before, now = list(_compared(published)), list(_compared(again))
    if len(before) != len(now):
        yield f"{len(before)} outputs beside cards are published, executed again it shows {len(now)}"
        return
    timed = str(published.get("id")) in rule.timed
    for old, new in zip(before, now, strict=True):
        if old.keys() != new.keys():
            yield f"published as {', '.join(sorted(old))}, executed again as {', '.join(sorted(new))}"
            continue
        for kind in old:
            compare = _figures if kind in _IMAGES else _texts
            if said := compare(old[kind], new[kind], rule, timed):
                yield said


def _compared(cell: Notebook) -> Iterator[dict[str, str]]:
    """What each output of a cell shows, by MIME type; without those that follow from the evidence."""
    for output in cell.get("outputs", []):
        record = (output.get("metadata") or {}).get("surveylab") or {}
        if "claim" in record or "strategies" in record:
            continue
        if output["output_type"] == "stream":
            yield {str(output.get("name")): _joined(output.get("text"))}
        elif output["output_type"] == "error":
            yield {"error": f"{output.get('ename')}: {output.get('evalue')}"}
        else:
            yield {kind: _joined(content) for kind, content in output.get("data", {}).items()}


def _joined(content: Any) -> str:
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "".join(content)
    return content if isinstance(content, str) else json.dumps(content, sort_keys=True)


# ------------------------------------------------------------------------------------------------ texts


def _texts(published: str, again: str, rule: Rule, timed: bool) -> str | None:
    before, now = (_ADDRESS.sub("0x", text) for text in (published, again))
    if rule.numbers and not timed:
        return None if before == now else _shown_apart(before, now)
    if _NUMBER.sub("0", before).split() != _NUMBER.sub("0", now).split():
        return _shown_apart(before, now)
    if timed:
        return None
    olds, news = list(_NUMBER.finditer(before)), list(_NUMBER.finditer(now))
    spread = max((width for unit, width in rule.widths.items() if _names(before, unit)), default=0.0)
    place = 0
    while place < len(olds):
        count = place + 1 < len(olds) and before[olds[place].end() : olds[place + 1].start()] == " of "
        if count and not rule.close and (said := _counts(olds, news, place)) is not None:
            if said:
                return _around(before, now, olds[place], news[place])
            place += 2
            continue
        old, new = olds[place][0], news[place][0]
        if rule.close:
            near = old == new or (not old.isdecimal() and _near(old, new, 0.0, 0.0))
        else:
            bare = not spread and old.isdecimal() and _BARE.match(before, olds[place].end())
            near = _near(old, new, spread, BARE_SHARE if bare else SHARE)
        if not near:
            return _around(before, now, olds[place], news[place])
        place += 1
    return None


def _names(text: str, unit: str) -> bool:
    """Whether a text has a unit: `%` and points are one."""
    if unit == "percentage points":
        return "%" in text or "point" in text
    return unit in text


def _counts(olds: list[re.Match[str]], news: list[re.Match[str]], place: int) -> bool | None:
    """Whether two counts of so many differ by more than chance; None if they are no such counts."""
    shown = [match[0] for match in (olds[place], olds[place + 1], news[place], news[place + 1])]
    if not all(number.isdecimal() for number in shown):
        return None
    k, n, again, total = map(int, shown)
    if not 0 <= k <= n or n == 0:
        return None
    if n != total or again > n:
        return True
    share = (k + again) / (2 * n)
    return abs(k - again) > COUNT_ERRORS * math.sqrt(2 * n * share * (1 - share))


def _value(number: str) -> float:
    return float(number.replace("×10", "e").translate(_PLAIN))


def _near(published: str, again: str, spread: float, share: float) -> bool:
    try:
        before, now = _value(published), _value(again)
    except ValueError:  # a version, a date
        return published == again
    gap, size = abs(before - now), max(abs(before), abs(now))
    if gap <= max(_last_digit(published), _last_digit(again), spread, share * size) * (1 + 1e-9):
        return True
    if share and size < ROUNDING and before and now:
        return max(abs(before / now), abs(now / before)) <= 10
    return False


def _last_digit(number: str) -> float:
    """What one unit of a number's last digit is worth."""
    mantissa, _, exponent = number.replace("×10", "e").translate(_PLAIN).lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))


def _around(before: str, now: str, old: re.Match[str], new: re.Match[str]) -> str:
    shown = _cut(before, old.start(), old.end()), _cut(now, new.start(), new.end())
    return f"published {shown[0]}, executed again {shown[1]}"


def _shown_apart(before: str, now: str) -> str:
    """Two texts, each cut to where they part; a number there is shown whole."""
    first = next((n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), None)
    first = min(len(before), len(now)) if first is None else first
    inside = [match.start() for match in _NUMBER.finditer(before) if match.start() <= first <= match.end()]
    first = min([first, *inside])
    return f"published {_cut(before, first, first + 12)}, executed again {_cut(now, first, first + 12)}"


def _cut(text: str, start: int, end: int, margin: int = 24) -> str:
    start, end = max(0, start - margin), min(len(text), end + margin)
    inside = " ".join(text[start:end].split())
    return f"'{'…' if start else ''}{inside}{'…' if end < len(text) else ''}'"


# ------------------------------------------------------------------------------------------------ figures


def _figures(published: str, again: str, rule: Rule, timed: bool) -> str | None:
    import numpy as np

    try:
        (before, by), (now, also_by) = _picture(published), _picture(again)
    except (ValueError, OSError) as error:
        return f"a figure cannot be read: {error}"
    if before.shape != now.shape:
        sizes = [f"{picture.shape[1]}×{picture.shape[0]}" for picture in (before, now)]
        return f"the published figure has {sizes[0]} pixels, executed again {sizes[1]}"
    different = int(np.count_nonzero((before != now).any(-1)))
    if not different:
        return None
    # Another version of what draws it draws it otherwise, and says in the file which it is.
    if rule.pixels and not timed and by == also_by:
        return f"{different} pixels of the figure are not those of a second execution on the same arithmetic"
    similarity = similar(before, now)
    # Of a figure that is nearly symmetric the mirror image is similar too, but less so.
    if max(similar(before, now[:, ::-1]), similar(before, now[::-1])) > similarity:
        return "the figure is more like the mirror image of a second execution than like it"
    least = ALIKE if (rule.pixels or rule.close) and not timed else SIMILAR
    if similarity >= least:
        return None
    drawn = (
        f"; published as drawn by {by or 'unknown'}, now by {also_by or 'unknown'}" if by != also_by else ""
    )
    return (
        f"the figure shows something else than a second execution: structural similarity {similarity:.2f}, "
        f"at least {least} expected{drawn}"
    )


def _picture(encoded: str) -> tuple[Any, str]:
    """The pixels of a picture, (H, W, 4), and the software that it says it was made with."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(encoded, validate=False))) as image:
        return np.asarray(image.convert("RGBA")), str(image.info.get("Software", ""))


def similar(before: Any, now: Any) -> float:
    """The structural similarity of two pictures of one size, reduced, on white, where either is drawn on.

    Elsewhere both are white: on average over the whole picture sparse drawings of anything are alike.
    """
    import numpy as np
    from scipy.ndimage import maximum_filter
    from skimage.metrics import structural_similarity
    from skimage.transform import downscale_local_mean

    coarse = max(1, min(COARSE, min(before.shape[:2]) // _WINDOW))
    reduced = [downscale_local_mean(_grey(picture), (coarse, coarse), cval=255) for picture in (before, now)]
    _, places = structural_similarity(*reduced, data_range=255, win_size=_WINDOW, full=True)
    drawn = maximum_filter(np.minimum(*reduced) < _WHITE, _WINDOW)
    return float(places[drawn].mean()) if drawn.any() else 1.0


def _grey(picture: Any) -> Any:
    """A picture on white, in grey: (H, W)."""
    opaque = picture[..., 3:] / 255
    return (picture[..., :3] * opaque + 255 * (1 - opaque)) @ (0.299, 0.587, 0.114)
