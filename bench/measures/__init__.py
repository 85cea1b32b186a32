"""What is measured: one file for each question. A file has `run`, which takes samples, and says in its head what they mean.

The one rule: a measure only takes samples. Medians, spreads and ratios are made of them in `report`.
"""
