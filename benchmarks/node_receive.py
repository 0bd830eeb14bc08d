"""Objects a second that the node acknowledges, each on the disk first, beside Orthanc and dcmtk's storescp.

    python benchmarks/node_receive.py [--runs 5] [--slices 100] [--size 512] [--senders 1 4]

The sender is dcmtk's storescu, which waits for each answer. Every run sends new objects to every receiver in turn, so
that load on the machine falls on all alike. Orthanc runs with its defaults (SQLite, objects stored as files,
``SyncStorageArea`` true, which has the disk confirm files but not their names); storescp confirms nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from node_parts import cohort, config, free_port, wait_until
from stand_ins import write_brightness_bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORESCU, STORESCP, ORTHANC = "/usr/bin/storescu", "/usr/bin/storescp", "Orthanc"


def write_series(template: Path, folder: Path, slices: int, size: int) -> None:
    """New slices of noise, which no file system compresses."""
    folder.mkdir()
    rng = np.random.default_rng()
    image = dcmread(template)
    image.StudyInstanceUID = generate_uid()
    image.Rows = image.Columns = size
    for number in range(slices):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PixelData = rng.integers(0, 4096, (size, size), np.uint16).tobytes()
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)


@contextmanager
def node(folder: Path) -> Iterator[tuple[int, str]]:
    """The node as a process of its own, with a destination that is not there."""
    bundles = write_brightness_bundles(folder)
    told = config(folder / "spool", "NOBODY@127.0.0.1:1", bundles, study__quiet_s=3600.0)
    port = free_port()
    text = [f"spool = {json.dumps(str(told.spool))}", "[destination]", 'address = "NOBODY@127.0.0.1:1"']
    text += ["[study]", "quiet_s = 3600", "[listen]", f"port = {port}", "min_free_mb = 0", "[models]"]
    text += [f"xray_bundle = '{told.models.xray_bundle}'", f"ct_bundle = '{told.models.ct_bundle}'"]
    (folder / "node.toml").write_text("\n".join(text), encoding="utf-8")
    code = "from duoscan.interfaces.cli import main; main()"
    with running([sys.executable, "-c", code, "node", "--config", str(folder / "node.toml")], port):
        yield port, "DUOSCAN"


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, str]]:
    """Orthanc with an empty store."""
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with running([ORTHANC, str(folder / "orthanc.json")], port):
        yield port, "ORTHANC"


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, str]]:
    """Dcmtk's receiver, a process an association."""
    (folder / "storescp").mkdir()
    port = free_port()
    with running([STORESCP, "--fork", "-od", str(folder / "storescp"), str(port)], port):
        yield port, "STORESCP"


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A receiver, once it answers C-ECHO."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            title = "DUOSCAN" if "node" in command else "ANY"
            echo = ["/usr/bin/echoscu", "-aec", title, "127.0.0.1", str(port)]
            wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0)
            yield
        finally:
            process.terminate()
            process.wait(60)


def seconds(port: int, title: str, folders: list[Path]) -> float:
    """Wall time until every folder is stored, a sender each, all at once."""
    started = time.perf_counter()
    commands = [[STORESCU, "-aec", title, "+sd", "127.0.0.1", str(port), str(folder)] for folder in folders]
    senders = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for sender in senders:
        _, said = sender.communicate()
        if sender.returncode or b"E:" in said:
            raise SystemExit(said.decode())
    return time.perf_counter() - started


RECEIVERS: dict[str, Callable[[Path], AbstractContextManager[tuple[int, str]]]] = {
    "node": node,
    "Orthanc": orthanc,
    "storescp": storescp,
}


def main() -> None:
    """Time all, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slices", type=int, default=100, help="objects in a run, dealt among the senders")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        template = next(path for path in cohort(root / "cohort") if dcmread(path).Modality == "CT")
        places = {name: stack.enter_context(make(root)) for name, make in RECEIVERS.items()}
        for count in arguments.senders:
            times: dict[str, list[float]] = {name: [] for name in places}
            for _ in range(arguments.runs):
                for name, (port, title) in places.items():
                    folders = [root / f"series-{number}" for number in range(count)]
                    for folder in folders:
                        write_series(template, folder, arguments.slices // count, arguments.size)
                    times[name].append(seconds(port, title, folders))
                    for folder in folders:
                        shutil.rmtree(folder)
            sent = arguments.slices // count * count
            for name, took in times.items():
                rates = sorted(sent / one for one in took)
                print(
                    f"{count} senders, {name:9} median {statistics.median(rates):6.1f} objects/s"
                    f"  min {rates[0]:.1f}  max {rates[-1]:.1f}"
                )
    size_mb = 2 * arguments.size**2 / 2**20
    print(f"{size_mb:g} MB an object; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
