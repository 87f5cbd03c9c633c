"""davfusion side by side with the servers that people would pick instead; run with `python -m tests.benchmarks`."""
