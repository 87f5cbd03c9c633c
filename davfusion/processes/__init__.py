"""The processes of a running davfusion: where all rooms are put together."""
