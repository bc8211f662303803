"""Fly regions: codes, names, coordinates, geographic aliases and distances.

Codes and names: F-7.20 to F-7.22. Alias membership is inferred, not documented (F-7.27, K-29).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Region:
    code: str
    name: str
    latitude: float
    longitude: float
    current: bool = True


def _table(rows: str, *, current: bool) -> dict[str, Region]:
    regions = {}
    for row in rows.strip().splitlines():
        code, latitude, longitude, name = row.split(maxsplit=3)
        regions[code] = Region(code, name, float(latitude), float(longitude), current)
    return regions


# F-7.20: the 18 current regions, coordinates rounded to whole degrees.
_CURRENT = """
ams  52    5 Amsterdam, Netherlands
arn  60   18 Stockholm, Sweden
bom  19   73 Mumbai, India
cdg  49    3 Paris, France
dfw  33  -97 Dallas, Texas (US)
ewr  41  -74 Secaucus, NJ (US)
fra  50    9 Frankfurt, Germany
gru -23  -46 São Paulo, Brazil
iad  39  -77 Ashburn, Virginia (US)
jnb -26   28 Johannesburg, South Africa
lax  34 -118 Los Angeles, California (US)
lhr  51    0 London, United Kingdom
nrt  36  140 Tokyo, Japan
ord  42  -88 Chicago, Illinois (US)
sin   1  104 Singapore
sjc  37 -122 San Jose, California (US)
syd -34  151 Sydney, Australia
yyz  44  -80 Toronto, Canada
"""

# F-7.21, F-7.22: removed regions (examples in the docs still use some) and former edge-only ones.
_FORMER = """
atl  34  -84 Atlanta, Georgia (US)
bog   5  -74 Bogotá, Colombia
bos  42  -71 Boston, Massachusetts (US)
den  40 -105 Denver, Colorado (US)
eze -35  -59 Ezeiza, Argentina
gdl  21 -103 Guadalajara, Mexico
gig -23  -43 Rio de Janeiro, Brazil
hkg  22  114 Hong Kong
mad  40   -4 Madrid, Spain
mia  26  -80 Miami, Florida (US)
otp  45   26 Bucharest, Romania
phx  33 -112 Phoenix, Arizona (US)
qro  21 -100 Querétaro, Mexico
scl -33  -71 Santiago, Chile
sea  47 -122 Seattle, Washington (US)
waw  52   21 Warsaw, Poland
yul  45  -74 Montreal, Canada
maa  13   80 Chennai, India
dxb  25   55 Dubai, United Arab Emirates
ist  41   29 Istanbul, Turkey
mel -38  145 Melbourne, Australia
"""

REGIONS: dict[str, Region] = _table(_CURRENT, current=True) | _table(_FORMER, current=False)

_US = frozenset({"dfw", "ewr", "iad", "lax", "ord", "sjc"})

# F-1.18: the aliases; F-7.27, K-29: their members. Africa has no alias.
ALIASES: dict[str, frozenset[str]] = {
    "us": _US,
    "usa": _US,
    "na": _US | {"yyz"},
    "sa": frozenset({"gru"}),
    "eu": frozenset({"ams", "arn", "cdg", "fra", "lhr"}),
    "apac": frozenset({"bom", "nrt", "sin", "syd"}),
}
ANY = "any"


def is_region(code: str) -> bool:
    """Whether `code` is a current or former region; an alias is not (F-7.24)."""
    return code in REGIONS


def members(code: str) -> frozenset[str] | None:
    """The regions of a code or alias; None for `any`, which means all regions (F-1.18)."""
    if code == ANY:
        return None
    return ALIASES.get(code, frozenset({code}))


@cache
def distance_km(one: str, other: str) -> float:
    """Great-circle distance between two regions in kilometers; infinite if one is unknown.

    Fly ranks regions by measured round-trip times (F-5.5), which are not published (F-7.26).
    """
    if one == other:
        return 0.0
    if one not in REGIONS or other not in REGIONS:
        return float("inf")
    a, b = REGIONS[one], REGIONS[other]
    lat_a, lat_b = radians(a.latitude), radians(b.latitude)
    half_lat = sin((lat_b - lat_a) / 2) ** 2
    half_lon = sin(radians(b.longitude - a.longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(half_lat + cos(lat_a) * cos(lat_b) * half_lon))
