"""A reading room filled with invented patients."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.worklist.store.accounts import Role, account_named, add_account
from duoscan.worklist.store.store import Store
from duoscan.worklist.store.uploads import UploadedFile, add_file, begin_upload, complete_upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.interfaces.serve.config import ServeConfig

ACCOUNT = "demo"


def fill(config: ServeConfig, *, tell: Callable[[str], None], patients: int = 9, slices: int = 24) -> None:
    """Hand in a cohort of phantoms, once; workers then screen it as anything else.

    Args:
        config: Of the room.
        tell: Called with what a person should read.
        patients: How many.
        slices: Of each CT.
    """
    store = Store(config.folder, config.url)
    try:
        with store.database.write() as connection:
            if account_named(connection, ACCOUNT) is not None:
                return
            account = add_account(connection, ACCOUNT, Role.CLINICIAN, now=time.time())
        tell(f"drawing {patients} invented patients")
        with tempfile.TemporaryDirectory(dir=store.scratch) as folder:
            options = PhantomOptions(patients=patients, seed=7, slices=slices, formats=FileFormat.DICOM)
            write_cohort(options, Path(folder) / "cohort")
            _hand_in(store, account, Path(folder) / "cohort" / "dicom")
    finally:
        store.close()


def _hand_in(store: Store, account: str, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with store.database.write() as connection:
        upload = begin_upload(connection, account, "", None, now=time.time())
    for number, path in enumerate(files):
        size, blob = path.stat().st_size, store.blobs.keep_copy(path, path.name)
        with store.database.write() as connection:
            add_file(connection, upload, UploadedFile(number, str(path.relative_to(folder)), blob, size))
    with store.database.write() as connection:
        complete_upload(connection, upload, ACCOUNT, now=time.time())
