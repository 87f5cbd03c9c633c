"""The format of the chunked layout in a store: archives, blocks, journal, snapshots, marker and lease."""
