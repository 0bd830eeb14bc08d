"""COVID-19 Radiography Database: the largest class-folder X-ray set, with lung masks."""

from __future__ import annotations

from functools import partial

from duoscan.manifest.sources.source import Source, SourceInfo, holds, read_class_folders
from duoscan.terms import Finding, Modality

INFO = SourceInfo(
    name="radiography",
    title="COVID-19 Radiography Database",
    modalities=(Modality.CXR,),
    licence="data files © original authors, as its page states",
    citation=(
        "Chowdhury et al. Can AI help in screening viral and COVID-19 pneumonia? IEEE Access 8:132665, 2020; "
        "Rahman et al. Exploring the effect of image enhancement techniques on COVID-19 detection using chest X-ray "
        "images. Comput Biol Med 132:104319, 2021"
    ),
    where="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    layout="COVID, Lung_Opacity, Normal and 'Viral Pneumonia', each with the folders images and masks",
    caution=(
        "No patient ids. Each class comes from other places: COVID mostly from PadChest, normal and lung opacity "
        "mostly from RSNA, viral pneumonia from a children's hospital. So class and source are nearly the same thing."
    ),
    expected={Finding.COVID: 3616, Finding.NORMAL: 10192, Finding.OTHER: 6012, Finding.PNEUMONIA: 1345},
    counted="the second update (2021)",
)

SOURCE = Source(INFO, holds("COVID/images", "Normal/images"), partial(read_class_folders, INFO))
