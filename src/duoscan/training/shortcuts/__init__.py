"""Whether skill survives without the lung: the same data learned again from what should carry no sign of disease."""
