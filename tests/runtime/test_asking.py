import pytest

from xsam_edge.runtime.asking import as_read


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (" a red cross  in front of  sand. .", "a red cross in front of sand."),
        ("a cross and sand .", "a cross and sand."),
        ("Is it sand? .", "Is it sand?"),
        ("sand , grass ; water", "sand, grass; water"),
        ("One. Two.", "One. Two."),
        (".", "."),
        ("", ""),
    ],
)
def test_a_caption_is_read_as_a_sentence(said: str, read: str) -> None:
    assert as_read(said) == read
