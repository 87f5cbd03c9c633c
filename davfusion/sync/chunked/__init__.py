"""The engine of chunked shares: packs contents into objects, then writes the journal that names them."""
