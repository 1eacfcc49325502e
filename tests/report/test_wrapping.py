"""Long names break after their separators, and never within a number or a word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.report.wrapping import breakable, wrapped

NAME = "timm:model=vit_base_patch16_clip_224.openai,pretrained=true / face,eye+mouth / mlp:hidden=[512,256],dropout=0.5"


def test_lines_are_filled_up_to_their_width_and_end_at_a_separator() -> None:
    assert wrapped(NAME, 40).split("\n") == [
        "timm:model=vit_base_patch16_clip_",
        "224.openai,pretrained=true / face,eye+",
        "mouth / mlp:hidden=[512,256],dropout=0.5",
    ]
    assert wrapped("face / linear", 40) == "face / linear"
    assert wrapped("a" * 50, 40) == "a" * 50


@given(st.text(st.sampled_from("ab1,:/+_=. -")), st.integers(1, 30))
def test_wrapping_keeps_every_sign_but_spaces(name: str, width: int) -> None:
    assert re.sub(r"\s", "", wrapped(name, width)) == re.sub(r"\s", "", name)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("face,eye", "face,eye"),
        ("face,eye,mouth/mlp", "face,<wbr>eye,<wbr>mouth/<wbr>mlp"),
        ("mlp:hidden=[512,256]", "mlp:<wbr>hidden=[512,256]"),
        ("by .074 [.051, .097], p < .001", "by .074 [.051, .097], p &lt; .001"),
        ("<b>:<i onload=x>", "&lt;b&gt;:&lt;i onload=x&gt;"),
        ("<script>:alert(1)", "&lt;script&gt;:<wbr>alert(1)"),
    ],
)
def test_html_is_escaped_and_breaks_in_long_words_only(text: str, html: str) -> None:
    assert str(breakable(text)) == html
