"""API keys: what the setting may say, and what a key must be to match."""

from __future__ import annotations

import pytest

from service.api_keys import find_key, parse_api_keys
from tests.api_keys import digest


def test_keys_are_parsed() -> None:
    line, boss = parse_api_keys(f"line-4:{digest('a')}, boss:{digest('b').upper()}:admin")
    assert (line.name, line.admin) == ("line-4", False)
    assert (boss.name, boss.admin) == ("boss", True)
    assert digest("a") not in repr(line)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "line",
        digest("a"),
        f"{digest('a')}:line",
        f":{digest('a')}",
        f"line:{digest('a')[:-1]}",
        f"line:{digest('a')}0",
        f"line:{digest('a')}:root",
        f"line:{digest('a')}:admin:",
        f"../line:{digest('a')}",
        f"line 4:{digest('a')}",
        f"line:{digest('a')},",
        f"line:{digest('a')},line:{digest('b')}",
        f"line:{digest('a')},boss:{digest('a')}:admin",
    ],
)
def test_malformed_keys_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match="key") as refusal:
        parse_api_keys(text)
    assert digest("a")[:8] not in str(refusal.value)


def test_only_the_whole_key_matches() -> None:
    keys = parse_api_keys(f"boss:{digest('other')}:admin,line:{digest('secret')}")
    found = find_key(keys, "secret")
    assert found
    assert found.name == "line"
    for given in ("", "secre", "secret ", "Secret", digest("secret"), "line"):
        assert find_key(keys, given) is None


def test_key_beyond_ascii_matches_by_the_bytes_that_were_sent() -> None:
    (key,) = keys = parse_api_keys(f"line:{digest('schlüssel')}")
    assert find_key(keys, "schlüssel".encode().decode("latin-1")) is key
