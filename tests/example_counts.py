"""How many examples hypothesis draws: all in the whole suite, a sixth of them in the daily loop."""

from hypothesis import settings

settings.register_profile("whole", deadline=None)  # a busy machine stalls: how long an example takes is no fault
settings.register_profile("daily", deadline=None, max_examples=16)


def examples(whole: int) -> int:
    """A number of examples that is not the default one, as the loaded profile has it."""
    return max(4, whole * settings().max_examples // 100)
