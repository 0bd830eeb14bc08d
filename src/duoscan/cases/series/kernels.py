"""Reconstruction kernels: which ones are made for bone."""

from __future__ import annotations

import re

# Vendors name kernels freely (PS3.3 C.8.2.1 leaves the value open). GE: BONE, BONEPLUS, EDGE, ULTRA. Siemens: a
# letter or two and a number that grows with sharpness (B30f soft, B50f–B60f lung, B70s and more bone; Hr and Ur are
# head and inner ear). Canon and Toshiba: FC30–FC39 bone, FC80–FC89 fine bone; FC50–FC59 are lung. Philips: D, E, YD,
# YE, detail and bone; YA–YC and L are soft and lung.
_BONE_WORDS = re.compile(r"\b(BONE\w*|EDGE|ULTRA\w*|INNER ?EAR|OSTEO|KNOCHEN|OS)\b")
_SIEMENS = re.compile(r"[A-Z]{1,2}(\d\d)[A-Z]?(\\\d)?")
_SIEMENS_BONE_FROM = 70
_CANON_BONE = re.compile(r"FC(3|8)\d")
_PHILIPS_BONE = frozenset({"D", "E", "YD", "YE"})


def is_sharp(kernel: str | None, description: str | None = None) -> bool:
    """Whether a reconstruction is made for bone, by its kernel, else by the name of its series.

    Lung kernels, sharp as they are, show what is to be seen and do not count.

    Args:
        kernel: ConvolutionKernel (0018,1210).
        description: SeriesDescription (0008,103E), looked at where it says bone.

    Example:
        >>> is_sharp("BONEPLUS"), is_sharp("B70f"), is_sharp("LUNG"), is_sharp("B50f"), is_sharp("FC81")
        (True, True, False, False, True)
    """
    if kernel is None:
        return bool(_BONE_WORDS.search((description or "").upper()))
    name = kernel.upper().strip()
    if _BONE_WORDS.search(name) or _CANON_BONE.fullmatch(name) or name in _PHILIPS_BONE:
        return True
    numbered = None if name.startswith("FC") else _SIEMENS.match(name)
    return numbered is not None and int(numbered[1]) >= _SIEMENS_BONE_FROM
