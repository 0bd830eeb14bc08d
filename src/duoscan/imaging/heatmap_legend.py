"""What an overlay's colours mean, written below it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from duoscan.imaging.heatmap import colours, peak_strength

_LEAST_WIDTH_PX = 300  # the words need it; a smaller picture is enlarged, so that both can be read
_MOST_HEIGHT_PX = 4096  # to which it is enlarged at most; a narrow strip of an image stays as it is
_PAPER, _INK, _FAINT = (18, 18, 18), (240, 240, 240), (150, 150, 150)


def evidence_in_words(probability: float, threshold: float) -> str:
    """What a map may be taken for.

    Args:
        probability: P(covid) of the image, in [0, 1].
        threshold: Operating point, in [0, 1].
    """
    if probability >= threshold:
        return "evidence for COVID-19"
    if peak_strength(probability, threshold):
        return "not enough evidence for COVID-19"
    return "no evidence for COVID-19"


def with_legend(picture: Image.Image, probability: float, threshold: float) -> Image.Image:
    """The overlay above a strip with colour bar, probability, threshold and what that means.

    Args:
        picture: RGB, drawn at :func:`duoscan.imaging.heatmap.peak_strength` of the same two numbers.
        probability: P(covid) of the image, in [0, 1].
        threshold: Operating point, in [0, 1].

    Returns:
        RGB, at least 300 pixels wide.
    """
    times = min(-(-_LEAST_WIDTH_PX // picture.width), _MOST_HEIGHT_PX // picture.height)
    if times > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    width = max(picture.width, _LEAST_WIDTH_PX)
    unit = max(12, width // 28)
    canvas = Image.new("RGB", (width, picture.height + 6 * unit), _PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    strip = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(unit)
    top, left, right = picture.height, unit, width - unit
    decision = "positive" if probability >= threshold else "negative"
    strip.text((left, top + unit // 2), f"P(covid) {probability:.3f}: {decision}", fill=_INK, font=font)
    strip.text((left, top + 2 * unit), evidence_in_words(probability, threshold), fill=_INK, font=font)
    bar = colours(np.linspace(0, 1, right - left, dtype=np.float32)[None].repeat(unit // 2, axis=0))
    canvas.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), (left, top + 7 * unit // 2))
    middle, below = (left + right) // 2, top + 4 * unit
    strip.line([(middle, below - 3 * unit // 4), (middle, below + unit // 4)], fill=_INK, width=max(1, unit // 8))
    for at, text, anchor in ((left, "0", "la"), (middle, f"threshold {threshold:.3f}", "ma"), (right, "1", "ra")):
        strip.text((at, below + unit // 3), text, fill=_FAINT, font=font, anchor=anchor)
    return canvas
