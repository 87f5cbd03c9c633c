"""Carries a share from one layout to the other: from the store it lies in to another place, resumably, verified."""
