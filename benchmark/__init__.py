"""Time, memory, operations, size and agreement of engines and models on one CT, each run in a fresh process.

A machine that does other work makes seconds meaningless; what holds is the ratio to a reference that ran in turns with
the others: plain PyTorch, float32, eager, contiguous, with the bundle's uncompressed weights.
"""
