"""A DICOM listener that screens each study once it is complete, and reports it once.

``listener`` puts what it receives into the ``spool`` and says so in the ``journal``; ``screening`` and ``sending``
take studies from the journal. Nothing but files and journal passes between them, so each can stop at any point.
"""
