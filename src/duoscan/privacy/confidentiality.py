"""The Basic Application Level Confidentiality Profile (PS3.15 Annex E) on one data set.

Which attribute gets which action comes from dicom-anonymizer's copy of Table E.1-1 (edition 2026c). The walk is our
own, because that library applies the table to the top level only, and PS3.15 E.1.1 asks for every nested item too.
Beyond the table, everything that could hold free text or bytes of unknown meaning is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from duoscan.errors import MissingExtraError
from duoscan.privacy.pseudonyms import Pseudonyms, shifted

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

EDITION = "2026c"

# Where an action leaves the choice to the IOD (PS3.15 E.1.1), the most conformant one is taken: it keeps type 1
# and 2 attributes and holds a dummy, never the value.
_ACTIONS = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "D",
    "X_Z_TAGS": "Z", "X_D_TAGS": "D", "X_Z_D_TAGS": "D", "X_Z_U_STAR_TAGS": "U",
}  # fmt: skip

_DUMMY_DATES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
_DATES = frozenset(_DUMMY_DATES)
_FREE_TEXT = frozenset({"PN", "LT", "ST", "UT", "UC", "UR", "AE", "AS"})
_NUMBERS = frozenset({"DS", "IS"})
_BYTES = frozenset({"OB", "OW", "OD", "OF", "OL", "OV", "UN"})
# Bytes of group 0028 are look-up tables. Pixel data are taken out, at any depth, and those of the image written anew.
_TABLES, _PIXELS = 0x0028, 0x7FE0
_CURVES, _OVERLAYS, _REPEATING = 0x5000, 0x6000, 0xFF01

# Columns "Rtn. Pat. Chars. Opt." (E.3.7) and "Rtn. Dev. Id. Opt." (E.3.8) of Table E.1-1, of those what is kept
# as it is; free text that these columns would have cleaned is removed.
_CHARACTERISTICS = frozenset(
    {"PatientAge", "PatientSex", "PatientSize", "PatientWeight", "EthnicGroup", "SmokingStatus", "PregnancyStatus",
     "PatientSexNeutered"}
)  # fmt: skip
_DEVICE = frozenset(
    {"StationName", "DeviceSerialNumber", "DetectorID", "GantryID", "CassetteID", "PlateID", "GeneratorID",
     "DeviceUID", "DateOfLastCalibration", "TimeOfLastCalibration"}
)  # fmt: skip
_NEVER_SHIFTED = frozenset({"PatientBirthDate", "PatientBirthTime"})


@dataclass(frozen=True)
class Options:
    """Option profiles (PS3.15 E.3) used with the basic profile.

    Attributes:
        keep_interval: Dates are shifted by a secret number of days per patient, times are kept (E.3.6).
        keep_characteristics: Age, sex, size, weight and the like are kept (E.3.7).
        keep_device: Station name, serial numbers and the like are kept (E.3.8).
    """

    keep_interval: bool = False
    keep_characteristics: bool = False
    keep_device: bool = False

    def codes(self) -> tuple[tuple[str, str], ...]:
        """Value and meaning of CID 7050 codes for what is done."""
        chosen = (
            (True, "113100", "Basic Application Confidentiality Profile"),
            (self.keep_interval, "113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
            (self.keep_characteristics, "113108", "Retain Patient Characteristics Option"),
            (self.keep_device, "113109", "Retain Device Identity Option"),
        )
        return tuple((value, meaning) for used, value, meaning in chosen if used)

    def keeps(self, keyword: str) -> bool:
        """Whether an option keeps an attribute unchanged."""
        return (self.keep_characteristics and keyword in _CHARACTERISTICS) or (self.keep_device and keyword in _DEVICE)


@cache
def table_e1() -> dict[int, str]:
    """Tag → one of D, Z, X, U for each attribute of Table E.1-1 that is no repeating group.

    Raises:
        MissingExtraError: dicom-anonymizer is not installed.
    """
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ModuleNotFoundError as error:
        raise MissingExtraError("dicom", "duoscan deidentify") from error
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    return {
        (tag[0] << 16) + tag[1]: action for name, action in _ACTIONS.items() for tag in table[name] if len(tag) == 2
    }


class Profile:
    """The profile under one key.

    Args:
        pseudonyms: What replaces identifiers.
        options: Option profiles.
    """

    def __init__(self, pseudonyms: Pseudonyms, options: Options) -> None:
        self._pseudonyms = pseudonyms
        self._options = options
        self._table = table_e1()

    def apply(self, dataset: Dataset, patient_id: str) -> None:
        """Clean a data set in place, nested items too, and state what was done.

        Args:
            dataset: A whole image object; its file meta information is left alone, its pixel data are taken out.
            patient_id: Whose it is; the pseudonym and the shift of dates come from it.
        """
        self._clean(dataset, self._pseudonyms.shift_days(patient_id))
        pseudonym = self._pseudonyms.patient(patient_id)
        dataset.PatientName, dataset.PatientID = pseudonym, pseudonym
        self._state(dataset)

    def _state(self, dataset: Dataset) -> None:
        """Attributes by which a receiver knows (PS3.15 E.1.1 and PS3.3 C.7.1.1)."""
        from pydicom import Dataset as Item

        items = []
        for value, meaning in self._options.codes():
            item = Item()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            items.append(item)
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = f"duoscan, PS3.15 {EDITION} Annex E"
        dataset.DeidentificationMethodCodeSequence = items
        modified = "MODIFIED" if self._options.keep_interval else "REMOVED"
        dataset.LongitudinalTemporalInformationModified = modified

    def _clean(self, dataset: Dataset, days: int) -> None:
        for tag in list(dataset.keys()):
            is_repeating = tag.group & _REPEATING in {_CURVES, _OVERLAYS}
            if tag.is_private or tag.element == 0 or is_repeating or tag.group == _PIXELS:
                del dataset[tag]
                continue
            element = dataset[tag]
            if element.VR == "SQ":
                self._clean_sequence(dataset, element, days)
            elif not (self._options.keeps(element.keyword) and _is_as_registered(element)):
                self._clean_value(dataset, element, days)

    def _clean_sequence(self, dataset: Dataset, element: DataElement, days: int) -> None:
        """Nested items are cleaned like the top level; what Table E.1-1 removes or replaces goes as a whole."""
        action = self._table.get(element.tag, "")
        # X/Z in the table: it is type 3 in images, where an empty sequence is an error, so it is removed.
        if element.keyword == "ReferencedStudySequence":
            action = "X"
        if not _is_as_registered(element) or action in {"D", "X"}:
            del dataset[element.tag]
        elif action == "Z":
            element.value = []
        else:
            for item in element.value:
                self._clean(item, days)

    def _clean_value(self, dataset: Dataset, element: DataElement, days: int) -> None:
        """Table E.1-1 goes before what the file says of the element: its value representation may be false."""
        action = self._table.get(element.tag) or self._beyond_table(element)
        is_as_registered = _is_as_registered(element)
        if is_as_registered and element.VR == "UI" and action in {"U", "D"}:
            element.value = _each(element.value, self._pseudonyms.uid)
        elif is_as_registered and element.VR in _DATES and self._shift(element, days):
            return
        elif action in {"X", "U"} or (action == "D" and not is_as_registered):
            del dataset[element.tag]
        elif action == "Z":
            element.value = b"" if element.VR in _BYTES else None
        elif action == "D":
            _dummy(dataset, element)
        elif element.VR == "UI":
            element.value = _each(element.value, self._class_uid)

    def _shift(self, element: DataElement, days: int) -> bool:
        """Move dates where that option is used; whether the element is done with."""
        if not self._options.keep_interval or element.keyword in _NEVER_SHIFTED:
            return False
        if element.VR == "TM":
            return all(str(part).replace(".", "").isdigit() for part in _parts(element.value))
        moved = [shifted(str(part), days) for part in _parts(element.value)]
        if None in moved:
            return False
        element.value = moved
        return True

    def _beyond_table(self, element: DataElement) -> str:
        """X for what is not in the table yet could tell who it is."""
        hidden_bytes = element.VR in _BYTES and element.tag.group != _TABLES
        padding = element.tag.group == 0xFFFC
        no_number = element.VR in _NUMBERS and any(isinstance(part, str) for part in _parts(element.value))
        told = element.VR in _FREE_TEXT | _DATES or not _is_as_registered(element)
        return "X" if told or hidden_bytes or padding or no_number else ""

    def _class_uid(self, uid: str) -> str:
        """UIDs of the standard's own dictionary (classes, syntaxes, coding schemes) name no object and stay."""
        from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

        return uid if not uid or uid in UID_dictionary else self._pseudonyms.uid(uid)


def _is_as_registered(element: DataElement) -> bool:
    """Whether the file gives an attribute of the standard a value representation that the standard gives it."""
    from pydicom.datadict import dictionary_VR

    return bool(element.keyword) and str(element.VR) in dictionary_VR(element.tag).split(" or ")


def _parts(value: Any) -> list[Any]:
    """The values of an element, none for an empty one."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _each(value: Any, change: Any) -> Any:
    changed = [change(str(part)) for part in _parts(value)]
    return changed[0] if len(changed) == 1 else changed


def _dummy(dataset: Dataset, element: DataElement) -> None:
    """The dummy that dicom-anonymizer writes for a value representation; removed where it knows none.

    Dates are our own: that library writes the year 1, which PS3.5 6.2 does not allow.
    """
    from dicomanonymizer.simpledicomanonymizer import replace_element

    if not _parts(element.value):
        return
    if element.VR in _DUMMY_DATES:
        element.value = _DUMMY_DATES[element.VR]
        return
    try:
        replace_element(element)
    except NotImplementedError:
        del dataset[element.tag]
