"""Make book/_static/math.woff, in which the book's formulas are set, out of STIX Two Math.

    python assets/math_font.py STIXTwoMath-Regular.ttf

The font (SIL Open Font License 1.1, https://github.com/stipub/stixfonts) is cut to the signs of mathematics.
Its larger radical signs are as narrow as the smallest, since Chromium leaves room for the widest one after
every root.
"""

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

SIGNS = [
    *range(0x20, 0x7F),  # Latin
    *b"\xa0\xa8\xac\xaf\xb0\xb1\xb4\xb7\xd7\xf7",
    *range(0x2C6, 0x2DE),  # accents
    *range(0x391, 0x3F6),  # Greek
    *range(0x300, 0x30D),  # accents that combine
    *range(0x2010, 0x2058),  # dashes, bars, primes
    *(
        ord(sign)
        for sign in "ℂℏℑℓℕℙℚℜℝℤℎ←↑→↓↔↦⇐⇒⇔∀∂∃∅∆∇∈∉∋∏∑−∓∗∘√∝∞∠∣∥∧∨∩∪∫∼≃≅≈≔≠≡≤≥≪≫≺≻⊂⊃⊆⊇⊕⊗⊙⊤⊥⋅⋆⋮⋯⋱⌈⌉⌊⌋⟨⟩⟵⟶⟹⟺"
    ),
    *range(0x239B, 0x23B2),  # parts of large brackets
    *range(0x1D400, 0x1D468),  # bold and italic letters
    *range(0x1D49C, 0x1D4D0),  # script letters
    *(ord(letter) for letter in "ℬℰℱℋℐℒℳℛ"),
    *range(0x1D538, 0x1D56C),  # double-struck letters
    *range(0x1D6A4, 0x1D6A6),  # i and j without their dots
    *range(0x1D6E2, 0x1D71C),  # Greek italics
]

font = TTFont(sys.argv[1], recalcTimestamp=False)
subsetter = Subsetter(Options(layout_features=["ssty"], name_IDs=[0, 1, 2, 4, 5, 6, 13, 14], hinting=False))
subsetter.populate(unicodes=SIGNS)
subsetter.subset(font)
variants = font["MATH"].table.MathVariants
root = font.getBestCmap()[0x221A]
larger = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(root)]
width = font["hmtx"][root][0]
for name in {
    *(record.VariantGlyph for record in larger.MathGlyphVariantRecord),
    *(part.glyph for part in larger.GlyphAssembly.PartRecords),
} - {root}:
    glyph, (advance, bearing) = font["glyf"][name], font["hmtx"][name]
    glyph.coordinates.scale((width / advance, 1))
    glyph.coordinates.toInt()
    glyph.recalcBounds(font["glyf"])
    font["hmtx"][name] = (width, round(bearing * width / advance))
font.flavor = "woff"
font.save(Path(__file__).parents[1] / "book/_static/math.woff")
