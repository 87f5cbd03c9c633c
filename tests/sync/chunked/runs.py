"""Random runs of the world: the same seed is the same run."""

from __future__ import annotations

import random

from tests.sync.chunked.world import Chaos, World

PATHS = ("/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/y", "/a/x/q", "/c/x")
KINDS = ("folders", "bucket", "blunt")
CLIMATES = {
    "calm": Chaos(), "failing": Chaos(failures=0.15), "crashing": Chaos(failures=0.05, crashes=0.05),
    "losing": Chaos(failures=0.05, lost=0.1), "interleaved": Chaos(failures=0.05, interleaving=0.2),
    "everything": Chaos(failures=0.08, lost=0.02, crashes=0.03, interleaving=0.15),
}


def run(kind: str, climate: str, seed: int, steps: int = 100) -> World:
    """One run of `steps` steps with the end checked; the caller closes the world."""
    world = World(kind, seed, CLIMATES[climate])
    driver = random.Random(seed * 7919 + 1)
    try:
        for _ in range(steps):
            step(world, driver)
        world.converge()
        world.check()
    except BaseException:
        world.close()
        raise
    return world


def step(world: World, driver: random.Random) -> None:
    """One step: a client, the engine, the cache, time, or a crash."""
    path = driver.choice(PATHS)
    dice = driver.random()
    if dice < 0.40:
        world.some_client_operation()
    elif dice < 0.48:
        world.put(path)
    elif dice < 0.53:
        world.make_folder(path)
    elif dice < 0.55:
        world.lock(path)
    elif dice < 0.60:
        world.read(path)
    elif dice < 0.72:
        world.advance(driver.choice((1.0, 6.0, 25.0, 400.0)))
    elif dice < 0.86:
        world.work()
    elif dice < 0.93:
        world.tidy()
    elif dice < 0.96:
        world.evict()
    else:
        world.restart()
