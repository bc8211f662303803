from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routing.replay.directive import (
    FIELDS,
    DirectiveError,
    Fallback,
    ReplayDirective,
    parse_directive,
    split_pairs,
)


def parse(value: str) -> ReplayDirective:
    """Parse and drop the warnings, so that tables contain fields only."""
    return replace(parse_directive(value), warnings=())


def test_the_fields_are_the_eight_of_the_facts() -> None:
    """F-1.1 to F-1.8"""
    eight = {"region", "instance", "prefer_instance", "app", "state", "elsewhere", "timeout", "fallback"}
    assert set(FIELDS) == eight


@pytest.mark.parametrize(
    ("value", "directive"),
    [
        # F-1.9: the examples of Fly's documentation.
        ("region=sjc", ReplayDirective(regions=("sjc",))),
        ('region="iad,ord,us,na"', ReplayDirective(regions=("iad", "ord", "us", "na"))),
        ('region="sjc,any"', ReplayDirective(regions=("sjc", "any"))),
        ("instance=00bb33ff", ReplayDirective(instance="00bb33ff")),
        ("app=target-app", ReplayDirective(app="target-app")),
        ('region="sjc,any";app=target-app', ReplayDirective(regions=("sjc", "any"), app="target-app")),
        (
            "app=my-worker;timeout=10s;fallback=force_self",
            ReplayDirective(app="my-worker", timeout_seconds=10.0, fallback=Fallback.FORCE_SELF),
        ),
        # F-1.2 to F-1.8: the other fields.
        ("prefer_instance=286533db064e58", ReplayDirective(prefer_instance="286533db064e58")),
        ("region=sjc;state=captured_write", ReplayDirective(regions=("sjc",), state="captured_write")),
        ("elsewhere=true", ReplayDirective(elsewhere=True)),
        ("elsewhere=false", ReplayDirective()),
        (
            "elsewhere=true;fallback=prefer_self",
            ReplayDirective(elsewhere=True, fallback=Fallback.PREFER_SELF),
        ),
    ],
)
def test_the_directives_of_flys_docs_are_parsed(value: str, directive: ReplayDirective) -> None:
    assert parse_directive(value) == directive


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("500ms", 0.5),
        ("800ms", 0.8),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("0s", 0.0),
    ],
)
def test_a_timeout_has_a_unit(text: str, seconds: float) -> None:
    """F-1.7"""
    assert parse(f"instance=a;timeout={text}").timeout_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "directive"),
    [
        ("region=x; state=y", ReplayDirective(regions=("x",), state="y")),
        (" region = x ;\tstate = y ", ReplayDirective(regions=("x",), state="y")),
        ('region=" iad , ord "', ReplayDirective(regions=("iad", "ord"))),
        (";;region=x;;", ReplayDirective(regions=("x",))),
        ("region=x;region=y", ReplayDirective(regions=("y",))),
        ('instance="00bb33ff"', ReplayDirective(instance="00bb33ff")),
    ],
)
def test_spaces_are_trimmed_and_the_last_value_of_a_field_is_used(
    value: str, directive: ReplayDirective
) -> None:
    """K-9"""
    assert parse(value) == directive


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("state=a=b", "a=b"),
        ("state=a,b", "a,b"),
        ("state=a b", "a b"),
        ("state=", ""),
        ('state="a;b"', '"a;b"'),
        # "voilà" in UTF-8, decoded as Latin-1: str.strip() would remove the last byte.
        ("state=voil\xc3\xa0", "voil\xc3\xa0"),
    ],
)
def test_state_is_opaque(value: str, state: str) -> None:
    """F-1.5, F-1.14"""
    assert parse_directive(value).state == state


@pytest.mark.parametrize(
    ("value", "warnings"),
    [
        ("region=x", ()),
        ("instance_id=m", ("unknown field 'instance_id' is ignored",)),
        ("app=X;fly_prefer_instance=Y", ("unknown field 'fly_prefer_instance' is ignored",)),
        ("Region=x", ("unknown field 'Region' is ignored",)),
        ("region=x;region=y", ("field 'region' is given more than once: the last one counts",)),
    ],
)
def test_unknown_and_repeated_fields_have_warnings(value: str, warnings: tuple[str, ...]) -> None:
    """K-9: unknown fields are ignored, keys are case-sensitive"""
    assert parse_directive(value).warnings == warnings


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        # F-1.17: the invalid directives of the failure gallery.
        ("", "the value is empty"),
        (" ; ", "the value is empty"),
        ("leader", "'leader' is not key=value"),
        ("true", "'true' is not key=value"),
        ("region=x;leader", "'leader' is not key=value"),
        ("=x", "'=x' has no key before '='"),
        ("region=", "region= has an empty region"),
        ('region=""', 'region="" has an empty region'),
        ('region="iad,"', 'region="iad," has an empty region'),
        ("instance=", "instance is empty"),
        ('app=""', "app is empty"),
        ("prefer_instance= ;app=x", "prefer_instance is empty"),
        # K-8, F-1.10
        ("region=iad,ord", "the region list 'iad,ord' must be in double quotes"),
        # K-7, F-1.15
        ("timeout=1500", "timeout is '1500', expected a number with a unit, such as 10s or 500ms"),
        ("timeout=", "timeout is '', expected a number with a unit, such as 10s or 500ms"),
        ("timeout=-1s", "timeout is '-1s', expected a number with a unit, such as 10s or 500ms"),
        ("timeout=1d", "timeout is '1d', expected a number with a unit, such as 10s or 500ms"),
        ("elsewhere=yes", "elsewhere is 'yes', expected true or false"),
        ("fallback=self", "fallback is 'self', expected force_self or prefer_self"),
        ('region="iad', "unclosed double quote in 'region=\"iad'"),
        ('region="iad","ord"', 'region has a double quote inside \'"iad","ord"\''),
        ('instance=a"b"', "instance has a double quote inside 'a\"b\"'"),
        # F-1.76: the rules of the JSON form
        ("state=a\rb", r"state has a control character in 'a\rb'"),
        ("instance=a\x00", r"instance has a control character in 'a\x00'"),
        ("region=a\tb", r"region has a control character in 'a\tb'"),
        ("app=a\x7f;state=x", r"app has a control character in 'a\x7f'"),
    ],
)
def test_a_directive_that_cannot_be_parsed_says_why(value: str, problem: str) -> None:
    """F-1.17"""
    with pytest.raises(DirectiveError) as raised:
        parse_directive(value)
    assert str(raised.value) == problem


def test_a_timeout_is_never_infinite() -> None:
    with pytest.raises(DirectiveError):
        parse_directive(f"timeout={'9' * 400}h")


def test_a_comma_instead_of_a_semicolon_is_part_of_the_name() -> None:
    """X-2, F-1.12: a blueprint of Fly uses a comma, but `;` is the wire format"""
    assert parse("app=X,state=K") == ReplayDirective(app="X,state=K")


def test_a_list_without_quotes_is_accepted_if_lenient() -> None:
    """K-8"""
    assert parse_directive("region=iad,ord", lenient_region_list=True) == ReplayDirective(
        regions=("iad", "ord")
    )


@pytest.mark.parametrize(
    ("value", "pairs"),
    [("a=1;b=2", ["a=1", "b=2"]), ('a="1;2";b=3', ['a="1;2"', "b=3"]), ("", []), (" a ;; b", ["a", "b"])],
)
def test_pairs_are_split_outside_quotes(value: str, pairs: list[str]) -> None:
    """F-1.9"""
    assert split_pairs(value) == pairs


GRAMMAR = st.lists(
    st.sampled_from([*FIELDS, "=", ";", ",", '"', " ", "true", "10s", "any", "ams", "force_self"])
    | st.text(max_size=3)
).map("".join)


@given(st.text() | GRAMMAR, st.booleans())
def test_the_parser_raises_only_its_own_error(value: str, lenient: bool) -> None:
    """F-1.17: invalid input is PA03"""
    try:
        directive = parse_directive(value, lenient_region_list=lenient)
    except DirectiveError:
        return
    assert all(directive.regions)
    assert directive.timeout_seconds is None or directive.timeout_seconds < float("inf")


WORD = st.from_regex(r"[a-z0-9-]{1,14}", fullmatch=True)
DIRECTIVES = st.builds(
    ReplayDirective,
    regions=st.lists(st.sampled_from(["ams", "dfw", "us", "eu", "any"]), max_size=3).map(tuple),
    instance=st.none() | WORD,
    prefer_instance=st.none() | WORD,
    app=st.none() | WORD,
    state=st.none() | st.from_regex(r"[!#-:<-~\xa1-\xff]{0,20}", fullmatch=True),
    elsewhere=st.booleans(),
    timeout_seconds=st.none() | st.integers(0, 100_000).map(float),
    fallback=st.none() | st.sampled_from(Fallback),
)


def write(directive: ReplayDirective) -> str:
    """Serialize a directive in the grammar of F-1.9."""
    seconds = directive.timeout_seconds
    values = {
        "region": f'"{",".join(directive.regions)}"' if directive.regions else None,
        "instance": directive.instance,
        "prefer_instance": directive.prefer_instance,
        "app": directive.app,
        "state": directive.state,
        "elsewhere": "true" if directive.elsewhere else None,
        "timeout": f"{seconds:.0f}s" if seconds is not None else None,
        "fallback": directive.fallback,
    }
    return ";".join(f"{key}={value}" for key, value in values.items() if value is not None)


@settings(max_examples=50)
@given(DIRECTIVES.filter(lambda directive: directive != ReplayDirective()), st.randoms(use_true_random=False))
def test_a_written_directive_parses_back_in_any_order(directive: ReplayDirective, order: object) -> None:
    """F-1.9"""
    pairs = write(directive).split(";")
    order.shuffle(pairs)  # type: ignore[attr-defined]
    assert parse_directive(" ; ".join(pairs)) == directive
