"""What `bench/instructions` counts: the cases, the peers beside them, and what is shown of a count.

Only user-space instructions are counted, so every figure is the same on a loaded machine.
"""
