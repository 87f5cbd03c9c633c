"""Random runs of the world: the same seed is the same run."""

from __future__ import annotations

import random

from tests.model.world import Chaos, World

PATHS = ("/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/y", "/a/x/q", "/c/x")

CALM = Chaos()
FAILING = Chaos(failures=0.15)
CRASHING = Chaos(failures=0.05, crashes=0.05)
LOSING = Chaos(failures=0.05, lost=0.1)
INTERLEAVED = Chaos(failures=0.05, interleaving=0.2)
EVERYTHING = Chaos(failures=0.08, crashes=0.03, interleaving=0.15)
EDITED = Chaos(editor=True)
LATE = Chaos(failures=0.03, late=0.1, crashes=0.02)
STALE = Chaos(failures=0.05, stale=0.2, crashes=0.02)
EDITED_UNDER_FIRE = Chaos(failures=0.08, crashes=0.03, interleaving=0.15, editor=True)

CLIMATES = {
    "calm": CALM, "failing": FAILING, "crashing": CRASHING, "losing": LOSING, "interleaved": INTERLEAVED,
    "everything": EVERYTHING, "late": LATE,
    "stale": STALE, "edited": EDITED, "edited-under-fire": EDITED_UNDER_FIRE,
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
    """One step: a client, the engine, the cache, time, a crash, or the editor."""
    path, other = driver.choice(PATHS), driver.choice(PATHS)
    dice = driver.random()
    if dice < 0.25:
        world.put(path)
    elif dice < 0.31:
        world.make_folder(path)
    elif dice < 0.38:
        world.delete(path)
    elif dice < 0.48:
        world.move(path, other)
    elif dice < 0.53:
        world.copy(path, other)
    elif dice < 0.60:
        world.read(path)
    elif dice < 0.65:
        world.look(path)
    elif dice < 0.75:
        world.advance(driver.choice((1.0, 6.0, 25.0, 400.0)))
    elif dice < 0.90:
        world.work(driver.choice((1, 2, 5, 1000)))
    elif dice < 0.92:
        world.tidy()
    elif dice < 0.95:
        world.evict()
    elif dice < 0.96:
        world.restart()
    elif dice < 0.98 and world.chaos.late:
        world.deliver()
    elif world.chaos.editor:
        (world.edit if driver.random() < 0.6 else world.edit_delete)(path)
