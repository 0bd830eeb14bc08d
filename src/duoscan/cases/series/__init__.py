"""Images of a CT study → stacks of slices that belong together, in the order in which they lie."""

from duoscan.cases.series.assemble import Stack, assemble
from duoscan.cases.series.choose import StackChoice, choose, why_not_eligible
from duoscan.cases.series.kernels import is_sharp
from duoscan.cases.series.slices import SeriesImage

__all__ = ["SeriesImage", "Stack", "StackChoice", "assemble", "choose", "is_sharp", "why_not_eligible"]
