"""HTTP/1.1 for any WSGI application: strict, fast, patient with slow clients and never short of one byte."""

from davfusion.server.errors import BadBody, ClientDisconnected
from davfusion.server.files import FileWrapper
from davfusion.server.server import FusionServer, serve
from davfusion.server.settings import ServerSettings

__all__ = ["BadBody", "ClientDisconnected", "FileWrapper", "FusionServer", "ServerSettings", "serve"]
