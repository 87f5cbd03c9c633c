"""The engine that carries the local tree to the store: planner, workers, retry, statistics.

It meets the request path only in the index. One engine works on a state directory at a time.
"""
