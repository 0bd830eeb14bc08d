"""Hospital IT with a PACS: ``python benchmarks/journeys/hospital.py``.

The PACS is the smallest that pynetdicom makes: it answers C-ECHO and takes what it is sent.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import Any

from journey import PHANTOMS, Journey, journey
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

PATIENCE_S = 240
SETTINGS = """spool = "spool"
[listen]
port = {port}
min_free_mb = 0
[study]
quiet_s = 2
[models]
check_quality = false
[destination]
address = "PACS@127.0.0.1:{pacs}"
"""


def start_pacs(stored: list[str]) -> Any:
    """An archive that notes the kind of each object that it is sent."""
    entity = AE("PACS")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)

    def keep(event: Any) -> int:
        stored.append(event.dataset.Modality)
        return 0x0000

    return entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(going: Journey, event: str, count: int = 1) -> None:
    """Look into the node's log until something happened so often."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        lines = (going.home / "node.log").read_text(encoding="utf-8").splitlines()
        if sum(json.loads(line)["event"] == event for line in lines if line.startswith("{")) >= count:
            return
        time.sleep(0.2)
    raise SystemExit(f"no {count} times '{event}' in the node's log within {PATIENCE_S} s")


with journey("Hospital IT connects the program to a PACS and watches two studies go through.") as going:
    stored: list[str] = []
    archive, port = start_pacs(stored), free_port()
    pacs = archive.server_address[1]
    going.prepare(f"{PHANTOMS} --patients 1 --seed 5 --format dicom --out studies")
    going.type(f"pacs echo PACS@127.0.0.1:{pacs}")
    going.hand("write node.toml: spool, port, and the PACS as destination (samples in deploy/)")
    (going.home / "node.toml").write_text(SETTINGS.format(port=port, pacs=pacs), encoding="utf-8")
    node = going.start("node --config node.toml")
    try:
        wait_for(going, "started")
        going.type(f"pacs store DUOSCAN@127.0.0.1:{port} studies/dicom")
        wait_for(going, "reported", count=2)
        going.type("node status --spool spool --json")
        print("\n$ tail node.log")
        print(
            "\n".join(f"  {line}" for line in (going.home / "node.log").read_text(encoding="utf-8").splitlines()[-4:])
        )
        print(f"\n# the PACS holds {len(stored)} results: {', '.join(sorted(stored))}")
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
        archive.shutdown()
