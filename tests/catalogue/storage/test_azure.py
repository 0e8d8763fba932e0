"""Tests of Azure beyond the contract of `test_operations`: accounts, unusual names and missing settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import stores
from catalogue.storage.azure import settings_of


@pytest.mark.parametrize("form", ["abfs://shop/{}", "abfss://shop@devstoreaccount1.dfs.core.windows.net/{}"])
def test_other_forms_of_a_location_lead_to_the_same_blob(form: str, open_object_store: Callable[[str], Any]) -> None:
    name = open_object_store("az").root.removeprefix("az://shop/")
    storage.write_text(f"az://shop/{name}/a.txt", "a")
    assert storage.read_text(form.format(f"{name}/a.txt")) == "a"
    assert [file.location for file in storage.list_files(form.format(name))] == [form.format(f"{name}/a.txt")]


def test_names_that_obstore_cannot_address_are_refused(open_object_store: Callable[[str], Any]) -> None:
    root = open_object_store("az").root
    storage.write_text(f"{root}/b.jpg", "another")
    with pytest.raises(StorageError, match="an empty segment") as error:
        storage.read(f"{root}//b.jpg", 1000)
    assert error.value.reason is Reason.NOT_FOUND


def test_without_an_account_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    stores.forget()
    with pytest.raises(StorageError, match="AZURE_STORAGE_ACCOUNT_NAME") as error:
        storage.read("az://shop/a.jpg", 1000)
    assert error.value.reason is Reason.PERMISSION_DENIED


KEYED = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=a2V5=="


@pytest.mark.parametrize(
    ("root", "connection_string", "settings"),
    [
        ("az://c", "", {}),
        ("abfss://c@other.dfs.core.windows.net", "", {"account_name": "other"}),
        ("abfss://c@other.dfs.core.chinacloudapi.cn", "",
         {"account_name": "other", "endpoint": "https://other.blob.core.chinacloudapi.cn"}),
        ("az://c", KEYED,
         {"account_name": "shop", "account_key": "a2V5==", "endpoint": "https://shop.blob.core.windows.net"}),
        ("abfss://c@shop.dfs.core.windows.net", KEYED,
         {"account_name": "shop", "account_key": "a2V5==", "endpoint": "https://shop.blob.core.windows.net"}),
        ("abfss://c@other.dfs.core.windows.net", KEYED, {"account_name": "other"}),
        ("az://c", f"{KEYED};EndpointSuffix=core.usgovcloudapi.net",
         {"account_name": "shop", "account_key": "a2V5==", "endpoint": "https://shop.blob.core.usgovcloudapi.net"}),
        ("az://c", "BlobEndpoint=https://shop.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D",
         {"account_name": "shop", "sas_key": "sv=1&sig=a%3D", "endpoint": "https://shop.blob.core.windows.net"}),
    ],
)  # fmt: skip
def test_settings_of_a_location_and_a_connection_string(
    root: str, connection_string: str, settings: dict[str, str]
) -> None:
    assert settings_of(root, {"AZURE_STORAGE_CONNECTION_STRING": connection_string}) == settings


@pytest.mark.parametrize(
    "domain", ["evil.org", "core.windows.net.evil.org", "evilcore.windows.net", "org", "net", "windows.net", "example"]
)
def test_credentials_go_only_to_azure_and_to_the_configured_domain(domain: str) -> None:
    """Anyone who writes a list can put a URI of any domain into it."""
    with pytest.raises(StorageError, match="is not an Azure domain") as error:
        settings_of(f"abfss://c@other.dfs.{domain}", {"AZURE_STORAGE_CONNECTION_STRING": KEYED})
    assert error.value.reason is Reason.PERMISSION_DENIED
    own = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=shop;BlobEndpoint=https://shop.blob.azure.example"}
    with pytest.raises(StorageError, match="is not an Azure domain"):
        settings_of(f"abfss://c@other.dfs.{domain}", own)
    assert settings_of("abfss://c@other.dfs.azure.example", own)["endpoint"] == "https://other.blob.azure.example"


def test_the_connection_string_of_the_emulator() -> None:
    settings = settings_of("az://c", {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"})
    assert settings["endpoint"] == "http://127.0.0.1:10000/devstoreaccount1"
    assert (settings["account_name"], bool(settings["account_key"])) == ("devstoreaccount1", True)


def test_an_endpoint_may_end_with_a_slash(
    open_object_store: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, environment = open_object_store("az")
    text = environment["AZURE_STORAGE_CONNECTION_STRING"]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{text}/")
    stores.forget()
    storage.write_text(f"{root}/a", "a")
    assert storage.read_text(f"{root}/a") == "a"


def test_files_are_deleted_together_even_if_one_is_gone(open_faulty_store: Callable[[str], Any]) -> None:
    (root, _), proxy = open_faulty_store("az")
    names = [f"{root}/{number}" for number in range(30)]
    for name in names:
        storage.write_bytes(name, b"x")
    asked: list[str] = []
    proxy.choose = lambda method, path: asked.append(method)
    storage.remove(root)
    assert asked.count("POST") == 1
    assert not storage.exists(root)
    for name in names[1:]:
        storage.write_bytes(name, b"x")
    stores.store_of(root).delete(names)
    assert not storage.exists(root)
