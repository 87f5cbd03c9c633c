"""Amazon S3 and the many services that speak its protocol.

The requests are made here, over `requests`, and not by a library of object stores. The one that was
tried (obstore 0.12) fails a whole listing on one foreign key that it cannot hold (`a//b`, `/a`, a
line break), cannot name keys that end in `/`, has no condition for uploads by parts, no ETag of a
copy, no Retry-After, no way to stop a request, refuses ranges from servers that answer them with
200, and hangs after a fork.
"""

from davfusion.store.s3.store import S3Store

__all__ = ["S3Store"]
