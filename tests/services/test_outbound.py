"""Addresses that callers may send this server to."""

import pytest

from app.errors import InvalidInput
from app.services.outbound import check_base_url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://user:password@example.com",
        "http://user@example.com",
        "http://example.com\\@127.0.0.1",
        "http://93.184.216.34#@127.0.0.1/",
        "http://93.184.216.34?@127.0.0.1/#",
        "http://93.184.216.34\t.example/",
        "http://0177.0.0.1/",
        "http://127.0.0.1%2f.example/",
        "http://[fe80::1%25eth0]/",
        "http://example.com/a b",
        "http://example.com/\r\nx: y",
        "http://exämple.com",
        "http://[::1",
        "http://example.com:99999",
        "https://example.com/" + "x" * 2000,
    ],
)
@pytest.mark.parametrize("private_allowed", [True, False])
async def test_what_is_not_a_plain_web_address_is_refused(url: str, private_allowed: bool) -> None:
    with pytest.raises(InvalidInput):
        await check_base_url(url, private_allowed=private_allowed)


PRIVATE = [
    "http://127.0.0.1:11434",
    "http://localhost/v1",
    "http://localhost./",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[fec0::1]/",
    "http://[5f00::1]/",
    "http://[3fff::1]/",
    "http://192.88.99.1/",
]


@pytest.mark.parametrize("url", PRIVATE)
async def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"is private|can't be resolved"):
        await check_base_url(url, private_allowed=False)


@pytest.mark.parametrize("url", PRIVATE)
async def test_it_may_be_named_where_private_addresses_are_allowed(url: str) -> None:
    await check_base_url(url, private_allowed=True)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/v1", "http://1.1.1.1:8080", "https://[2606:4700:4700::1111]/v1", "HTTPS://8.8.8.8"]
)
async def test_a_public_address_is_accepted(url: str) -> None:
    await check_base_url(url, private_allowed=False)


async def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"The host nowhere\.invalid can't be resolved\."):
        await check_base_url("https://nowhere.invalid/v1", private_allowed=False)


async def test_a_name_in_its_ascii_form_is_a_plain_web_address() -> None:
    await check_base_url("https://xn--bcher-kva.example/v1", private_allowed=True)
    await check_base_url("http://[::1]:8000/v1", private_allowed=True)
