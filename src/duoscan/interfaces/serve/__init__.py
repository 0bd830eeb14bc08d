"""``duoscan serve``: the reading room as a web application (extra ``[serve]``); a door to :mod:`duoscan.worklist`."""
