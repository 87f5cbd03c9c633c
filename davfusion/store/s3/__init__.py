"""Amazon S3 and the many services that speak its protocol."""

from davfusion.store.s3.store import S3Store

__all__ = ["S3Store"]
