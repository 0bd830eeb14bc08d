"""How the schema came about, step by step; run by :meth:`duoscan.worklist.store.database.Database.upgrade`."""
