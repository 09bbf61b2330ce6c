"""Running a study: what is missing (`plan`), one block (`fit`, `task`), processes (`engine`), the folder (`store`).

A results folder holds pairs of Parquet files, one a block of replicates of one cell and a set of methods (`parts`).
They are the only state: whatever is not there is run, in any order and by any number of processes, and what comes out
is the same to the last bit.
"""
