"""A synthetic thorax cohort with known truth: CT and X-ray of the same invented patients.

Order of work: `anatomy` and `lesions` are drawn, `volume` samples both on a grid, `ct` and `xray` make images of it,
`patient` does this for one patient and `cohort` writes many as a data set, with planted `faults` where asked.
"""
