"""Recipe → run → bundle. The only stage that uses torch (extra ``[train]``)."""
