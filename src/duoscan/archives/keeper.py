"""C-STORE requests to us: each object goes to the disk while it arrives, and is acknowledged once it is kept."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from duoscan.archives.associations import DAMAGED, file_head
from duoscan.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.archives.intake import Arrival, Intake

_SUCCESS = 0x0000
_CANNOT_STORE = 0xA700  # "refused: out of resources" stops the peer (PS3.4 table B.2-1)


class Keeper:
    """Keeps what arrives over associations; nothing is left of what did not arrive whole.

    Args:
        intake: The study that is wanted.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.written = intake.written
        self._begun: set[Arrival] = set()
        self._problem = ""

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        for arrival in tuple(self._begun):
            arrival.drop()

    @property
    def handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        """What pynetdicom is to call."""
        return [(evt.EVT_CONN_OPEN, self._on_open), (evt.EVT_C_STORE, self._on_store)]

    def check(self) -> None:
        """Say what went wrong here, which the peer cannot know.

        Raises:
            TransferError: An instance could not be kept.
        """
        if self._problem:
            raise TransferError(f"{self._problem}; {len(self.written)} instances came")

    def attempt(self, action: Callable[[], object]) -> bool:
        """Whether something could be done; the first problem is remembered, and nothing is done after it."""
        if self._problem:
            return False
        try:
            action()
        except TransferError as error:
            self._problem = str(error)
        except DAMAGED as error:
            self._problem = f"an instance could not be kept ({type(error).__name__})"
        return not self._problem

    def _on_open(self, event: Any) -> None:
        """Have data sets written where we want them; pynetdicom would keep each in memory until it is whole."""
        association = event.assoc
        receive = association.dimse.receive_primitive

        def receive_to_disk(primitive: Any) -> None:
            if association.dimse.message is None:
                message = association.dimse.message = DIMSEMessage()
                message.data_set = _OnDisk(self, association, message)
            receive(primitive)

        association.dimse.receive_primitive = receive_to_disk

    def _on_store(self, event: Any) -> int:
        """Status of one C-STORE."""
        return _SUCCESS if self.attempt(event.request.DataSet.keep) else _CANNOT_STORE

    def begin(self, head: bytes) -> Arrival:
        """An instance begins to arrive.

        Raises:
            TransferError: It is one too many.
        """
        arrival = self._intake.begin()
        self._begun.add(arrival)
        arrival.write(head)
        return arrival

    def end(self, arrival: Arrival) -> None:
        """It is all there.

        Raises:
            TransferError: It is not what was asked for.
        """
        try:
            arrival.keep()
        finally:
            arrival.drop()
            self._begun.discard(arrival)


class _OnDisk(io.BytesIO):
    """The data set of a message; of one that is no C-STORE, nothing is kept at all.

    Args:
        keeper: Who takes it.
        association: Over which it comes.
        message: Of pynetdicom; its command is known before its data set comes.
    """

    def __init__(self, keeper: Keeper, association: Any, message: Any) -> None:
        super().__init__()
        self._keeper, self._association, self._message = keeper, association, message
        self._arrival: Arrival | None = None

    def write(self, fragment: Any) -> int:
        """More of it."""
        if isinstance(self._message, C_STORE_RQ):
            self._keeper.attempt(lambda: self._begun().write(fragment))
        return len(fragment)

    def keep(self) -> None:
        """It is all there."""
        self._keeper.end(self._begun())

    def _begun(self) -> Arrival:
        if self._arrival is None:
            command, context_id = self._message.command_set, self._message.context_id
            contexts = [one for one in self._association.accepted_contexts if one.context_id == context_id]
            syntax = str(contexts[0].transfer_syntax[0])
            head = file_head(command.AffectedSOPClassUID, command.AffectedSOPInstanceUID, syntax)
            self._arrival = self._keeper.begin(head)
        return self._arrival
