"""Benchmarks of softmax beside its rivals: check every result first, then time.

``python -m benchmarks.run`` writes ``results/cpu.json``; every table is made from that file alone.
"""
