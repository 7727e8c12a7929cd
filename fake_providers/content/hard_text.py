"""Text whose characters and escapes are hard to pass on: it stands around the row of an answer.

Nothing in it looks like a token of a row, and nothing of it stands between two tokens, so the row
is read as ever. It has combining characters that a Unicode normalisation would change.
"""

from __future__ import annotations

from typing import Final

from fake_providers.prompt.forms import Text

PIECES: Final = (
    "Gr\u00fc\u00dfe \u03b1\u03b2\u03b3 \u0416\u0443\u043a \u05e9\u05dc\u05d5\u05dd\u00a0\u00bd ",
    "e\u0301 n\u0303 A\u030a\u0327 \u1100\u1161\u11a8 \u0915\u094d\u0937\u093f \u00c5\u212b ",
    "\u65e5\u672c\u8a9e \u20ac\u2028\u0e01\u0e33\u2029\u200b\ufeff\uff01 ",
    "\U0001f600\U0001f469\U0001f3fd\u200d\U0001f4bb\U0001f1e9\U0001f1ea\U0001d11e\U0002070e ",
    '\u00ab"\\\u00bb </b>&amp;\t\r\n\ndata: [DONE]\n\n{"error": {}}\n: \\u00e9\\n ',
)
"""Two bytes a character, combining, three, four; and what JSON and event streams write apart."""
CONTROLS: Final = "\u0000\u0001\b\f\u001f\u007f\uffff\U0010ffff\\/ "
"""What only an escape can write, and the last characters of a plane."""
LAST: Final = " \u00e9 e\u0301 \u6f22 \U0001f3c1"


def before_row(text: Text) -> tuple[str, ...]:
    """The pieces that precede the row."""
    return (*PIECES, CONTROLS) if text == "escapes" else PIECES
