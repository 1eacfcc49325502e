"""VideoResult: a trained cell on photos and videos as they come from a camera, in memory that does not grow with length."""
