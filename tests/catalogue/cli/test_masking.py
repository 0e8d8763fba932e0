from __future__ import annotations

import pytest

from catalogue.cli.masking import masked, masked_command, masked_within


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:s%40cret@shop.example/a.jpg", "https://***@shop.example/a.jpg"),
        ("cannot read http://:pw@h/a and https://u:p@h/b", "cannot read http://***@h/a and https://***@h/b"),
        ("https://b.s3.amazonaws.com/a.jpg?X-Amz-Credential=AK%2F1&X-Amz-Date=2&X-Amz-Signature=ab12",
         "https://b.s3.amazonaws.com/a.jpg?X-Amz-Credential=***&X-Amz-Date=2&X-Amz-Signature=***"),
        ("https://s.blob.core.windows.net/c/a.jpg?sv=1&sig=a%3D'", "https://s.blob.core.windows.net/c/a.jpg?sv=1&sig=***'"),
        ("https://storage.googleapis.com/b/a?GoogleAccessId=x&Signature=y", "https://storage.googleapis.com/b/a?GoogleAccessId=x&Signature=***"),
        ("https://h/a.jpg?access_token=1#x", "https://h/a.jpg?access_token=***#x"),
        ("https://h/a.jpg?design=red&keyword=hat&size=2", "https://h/a.jpg?design=red&keyword=hat&size=2"),
        ("abfss://photos@account.dfs.core.windows.net/a.jpg", "abfss://photos@account.dfs.core.windows.net/a.jpg"),
        ("https://h/a:b@c.jpg", "https://h/a:b@c.jpg"),
        ("Retrying after connection broken: /drop?sig=1", "Retrying after connection broken: /drop?sig=***"),
        ("https://user:p@ss@host/a", "https://***@host/a"),
        ("https://TOKEN@host/a", "https://***@host/a"),
        ("No such file: '//user:pw@host.com/a.jpg'", "No such file: '//***@host.com/a.jpg'"),
        ("https://h/a?accessToken=1&auth=2&jwt=3&hmac=4&monkey=5", "https://h/a?accessToken=***&auth=***&jwt=***&hmac=***&monkey=5"),
        ("a//b@c.jpg", "a//b@c.jpg"),
    ],
)  # fmt: skip
def test_credentials_in_uris_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_all_text_of_a_value_is_masked() -> None:
    value = {"command": ["classify", "https://u:p@h/"], "n": 1, "x": {"y": "https://u:p@h/"}, "none": None}
    assert masked_within(value) == {
        "command": ["classify", "https://***@h/"], "n": 1, "x": {"y": "https://***@h/"}, "none": None,
    }  # fmt: skip


def test_secrets_among_the_flags_of_a_command() -> None:
    words = ["classify", "--s3_secret_access_key", "abc", "--s3_session_token=def", "--top-k", "3", "s3://u:p@b/token"]
    assert masked_command(words) == [
        "classify", "--s3_secret_access_key", "***", "--s3_session_token=***", "--top-k", "3", "s3://***@b/token"
    ]  # fmt: skip
