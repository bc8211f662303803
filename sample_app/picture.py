"""Generator of the streamed picture: three moving waves, computed for every frame.

A frame has a header of six bytes (number, width and height, big-endian) and one byte of brightness per pixel. The
page adds the creator's colors and scales the picture.
"""

from __future__ import annotations

import math
import struct
from zlib import crc32

WIDTH, HEIGHT = 64, 36
HEAD = struct.Struct(">IBB")
FRAME_BYTES = HEAD.size + WIDTH * HEIGHT
_WAVE = [round(42.5 + 42.5 * math.sin(step * math.tau / 256)) for step in range(256)]


class Picture:
    """`seed` selects the waves, so that each creator has a different picture."""

    def __init__(self, seed: str) -> None:
        number = crc32(seed.encode())
        self._across = 4 + number % 3
        self._down = 7 + number // 4 % 5
        self._slanting = 4 + number // 32 % 4

    def frame(self, number: int) -> bytes:
        across = [_WAVE[(x * self._across + number * 3) % 256] for x in range(WIDTH)]
        down = [_WAVE[(y * self._down - number * 4) % 256] for y in range(HEIGHT)]
        slanting = [_WAVE[(step * self._slanting + number * 7) % 256] for step in range(WIDTH + HEIGHT)]
        pixels = bytes(across[x] + down[y] + slanting[x + y] for y in range(HEIGHT) for x in range(WIDTH))
        return HEAD.pack(number % 2**32, WIDTH, HEIGHT) + pixels
