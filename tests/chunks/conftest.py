"""The stores that journal and lease are checked on: those of the contract of stores."""

from tests.store.conftest import backend, moto, opener, plain, rclone

__all__ = ["backend", "moto", "opener", "plain", "rclone"]
