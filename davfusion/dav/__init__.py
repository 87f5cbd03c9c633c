"""WebDAV (RFC 4918 classes 1, 2 and 3) over a share: conditions, locks, properties, listings, transfers."""
