"""davfusion: a WebDAV server through which any computer mounts cloud storage as a network drive."""

__version__ = "0.1.0"
