"""Measured speed: ``python -m neon_sim.benchmarks.perf`` (``make bench``).

A measure is a function ``(options) -> list[Row]`` in a module of its own, named in
``MEASURES`` of ``__main__``. Ratios are taken within one run, with the two sides
interleaved and medians reported, because absolute times mean little on a shared machine.
"""
