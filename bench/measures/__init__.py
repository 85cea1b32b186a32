"""The measures: one file for each question. A file has `run`, which takes samples, and describes them in its head.

A measure only takes samples. `report` computes medians, spreads and ratios.
"""
