"""Forms of `POST /predict`: what is taken, and what each refusal says."""

from __future__ import annotations

from collections.abc import Iterable

import httpx2
import pytest

from tests.gateway.raw import exchange
from tests.gateway.test_bad_input import check
from tests.pictures import encoded
from tests.serving import Served

IMAGE = encoded(8, 8, "green", "PNG")
BOUNDARY = b"silk"
END = b"\r\n--silk--\r\n"
FILE = 'form-data; name="image"; filename="a.png"'
BROKEN_BOUNDARY = (
    "The boundary after part 1 of the form is malformed. End its line with CRLF, or with -- and "
    "CRLF after the last part."
)
LARGEST_FIELD = 1024 * 1024

Part = tuple[str, bytes]


def part(head: str, data: bytes) -> bytes:
    """A part from its header lines, of which the first is its Content-Disposition."""
    return f"Content-Disposition: {head}\r\n\r\n".encode() + data


def form(*parts: bytes) -> bytes:
    return b"--silk\r\n" + b"\r\n--silk\r\n".join(parts) + END


def field(name: str, text: bytes | str) -> bytes:
    return part(f'form-data; name="{name}"', text.encode() if isinstance(text, str) else text)


IMAGE_PART = part(FILE, IMAGE)


def send(http: httpx2.Client, body: bytes, parameters: str = "; boundary=silk") -> httpx2.Response:
    kind = f"multipart/form-data{parameters}"
    return http.post("/predict", content=body, headers={"content-type": kind})


def refused(
    http: httpx2.Client, *parts: bytes, status: int = 400, code: str = "invalid_request"
) -> tuple[str, str | None]:
    """The message and the param of a form that is refused."""
    error = check(send(http, form(*parts)), status, code)
    return error["message"], error["param"]


WHOLE = form(IMAGE_PART, field("prompt", "What is this?"), field("max_tokens", "2"))


def test_a_form_is_whole_or_refused(http: httpx2.Client) -> None:
    complete = len(WHOLE) - len(b"\r\n")
    for cut in range(len(WHOLE) + 1):
        reply = send(http, WHOLE[:cut])
        if cut >= complete:
            assert reply.status_code == 200, cut
            assert reply.json()["usage"]["completion_tokens"] == 2
        else:
            error = check(reply, 400, "invalid_request")
            assert "the form is truncated" in error["message"].lower(), (cut, error["message"])


def test_a_form_cut_by_its_length_is_not_whole(gateway: Served) -> None:
    for cut in (len(WHOLE) - 4, len(WHOLE) // 2):
        head = (
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"content-type: multipart/form-data; boundary=silk\r\ncontent-length: %d\r\n\r\n" % cut
        )
        reply = exchange(gateway.host_and_port, head + WHOLE)
        assert reply.status == 400
        assert b"truncated" in reply.body


@pytest.mark.parametrize("body", [WHOLE + b"an epilogue", WHOLE + WHOLE, b"\r\n" + WHOLE])
def test_what_stands_around_a_form_is_left_alone(http: httpx2.Client, body: bytes) -> None:
    assert send(http, body).status_code == 200


def test_a_form_in_small_chunks(http: httpx2.Client) -> None:
    def chunks(size: int) -> Iterable[bytes]:
        return (WHOLE[start : start + size] for start in range(0, len(WHOLE), size))

    for size in (1, 7, 64):
        headers = {"content-type": "multipart/form-data; boundary=silk"}
        reply = http.post("/predict", content=chunks(size), headers=headers)
        assert reply.json()["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "head",
    [
        "form-data; name=\"image\"; filename*=UTF-8''%E5%9B%BE.png",
        "form-data; name=\"image\"; filename*=utf-8'zh'%E5%9B%BE.png",
        'form-data; name="image"; filename="a.png"; filename*=UTF-8\'\'%E5%9B%BE.png',
        'form-data; name="image"; filename*=UTF-8\'\'%E5%9B%BE.png; filename="a.png"',
        "form-data; name=\"image\"; filename*=iso-8859-1''caf%E9.png",
        "form-data; name=\"image\"; filename*=GBK''%CD%BC.png",
        "form-data; name=\"image\"; filename*=no-such-set''%E5.png",
        "form-data; name=\"image\"; filename*=UTF-8''%E5%9",
        'form-data; name="image"; filename*=broken',
        "form-data; name=\"image\"; filename*0*=UTF-8''%E5; filename*1*=%9B%BE.png",
        "form-data; name=image; filename=a.png",
        'FORM-DATA; NAME="image"; FILENAME="a.png"',
        'form-data; name="image"; filename="图.png"',
        'form-data; name="image"\r\nContent-Type: image/png',
        'form-data; name="image"\r\nContent-Type: IMAGE/JPG; q=1',
        'form-data; name="image"\r\nContent-Type: application/octet-stream',
        'form-data; filename="name=x; \\"y.png"; name="image"',
    ],
)
def test_it_is_a_file(http: httpx2.Client, head: str) -> None:
    reply = send(http, form(part(head, IMAGE)))
    assert reply.status_code == 200, reply.text


def test_a_field_that_talks_of_a_file_is_a_field(http: httpx2.Client) -> None:
    head = "form-data; name=\"prompt; filename*=UTF-8''a.png\""
    message, _ = refused(http, IMAGE_PART, part(head, b"x"))
    assert message.startswith("The field prompt; filename*=")


def test_an_empty_field_is_as_if_absent(http: httpx2.Client) -> None:
    empty = [field(name, "") for name in ("temperature", "max_tokens", "prompt", "model")]
    reply = send(http, form(*empty, IMAGE_PART))
    bare = send(http, form(IMAGE_PART))
    assert reply.status_code == 200, reply.text
    assert reply.json()["response"] == bare.json()["response"]


def test_an_unused_file_input_is_as_if_absent(http: httpx2.Client) -> None:
    head = 'form-data; name="%s"; filename=""\r\nContent-Type: application/octet-stream'
    assert send(http, form(IMAGE_PART, part(head % "mask", b""))).status_code == 200
    message, param = refused(http, part(head % "image", b""))
    assert message == "The form has no file named `image`. Upload the image under that name."
    assert param == "image"


@pytest.mark.parametrize(
    ("parts", "message", "param"),
    [
        (
            [IMAGE_PART, IMAGE_PART],
            "The form has a second file, `image`. Send one file, named `image`.",
            "image",
        ),
        (
            [IMAGE_PART, part('form-data; name="mask"; filename="b.png"', IMAGE)],
            "The form has a second file, `mask`. Send one file, named `image`.",
            "mask",
        ),
        (
            [part('form-data; name="picture"; filename="b.png"', IMAGE)],
            "The form's file is named `picture`. Name it `image`.",
            "picture",
        ),
        (
            [part('form-data; name="picture"\r\nContent-Type: image/png', IMAGE)],
            "The form's file is named `picture`. Name it `image`.",
            "picture",
        ),
        (
            [field("prompt", "What?")],
            "The form has no file named `image`. Upload the image under that name.",
            "image",
        ),
        (
            [field("image", "text")],
            (
                "The form's part `image` is not a file. Add a filename to its "
                "Content-Disposition, or an image type as its Content-Type."
            ),
            "image",
        ),
        (
            [IMAGE_PART, field("prompt", "a"), field("prompt", "b")],
            "The form has the field `prompt` twice. Send it once.",
            "prompt",
        ),
        (
            [IMAGE_PART, *[field(f"f{place}", "x") for place in range(20)]],
            (
                "The form has more than 8 fields. Send only prompt, max_tokens, temperature, "
                "model, min_pixels, max_pixels, detail."
            ),
            None,
        ),
        (
            [IMAGE_PART, field("prompt", b"caf\xe9")],
            "The form's field `prompt` cannot be decoded as UTF-8. Send it in UTF-8.",
            "prompt",
        ),
        (
            [
                IMAGE_PART,
                part('form-data; name="prompt"\r\nContent-Type: text/plain; charset=klingon', b"?"),
            ],
            "The form's field `prompt` cannot be decoded as klingon. Send it in UTF-8.",
            "prompt",
        ),
        (
            [part('form-data; filename="a.png"', IMAGE)],
            (
                "Part 1 of the form has no name. Send a header like Content-Disposition: "
                'form-data; name="image"; filename="a.png".'
            ),
            None,
        ),
        (
            [IMAGE_PART, b"Content-Type: text/plain\r\n\r\nHi"],
            (
                "Part 2 of the form has no name. Send a header like Content-Disposition: "
                'form-data; name="image"; filename="a.png".'
            ),
            None,
        ),
        (
            [IMAGE_PART, part('form-data; name="prompt"\r\nno colon', b"?")],
            (
                "The headers of part 2 of the form are malformed. Send at most 8 lines of "
                "`Name: value`, each at most 4 KiB and ended by CRLF, then an empty line."
            ),
            None,
        ),
        (
            [part(FILE + "".join(f"\r\nX-{place}: 1" for place in range(20)), IMAGE)],
            (
                "The headers of part 1 of the form are malformed. Send at most 8 lines of "
                "`Name: value`, each at most 4 KiB and ended by CRLF, then an empty line."
            ),
            None,
        ),
        (
            [part(FILE + "\r\nX-Long: " + "x" * 5000, IMAGE)],
            (
                "The headers of part 1 of the form are malformed. Send at most 8 lines of "
                "`Name: value`, each at most 4 KiB and ended by CRLF, then an empty line."
            ),
            None,
        ),
        (
            [part(FILE + "\r\nContent-Transfer-Encoding: base64", b"aaaa")],
            (
                "Part 1 of the form has the Content-Transfer-Encoding base64, which is not "
                "supported. Send the part in binary."
            ),
            None,
        ),
    ],
)
def test_each_refusal_has_its_own_words(
    http: httpx2.Client, parts: list[bytes], message: str, param: str | None
) -> None:
    assert refused(http, *parts) == (message, param)


def test_a_field_that_is_too_long(http: httpx2.Client) -> None:
    parts = IMAGE_PART, field("prompt", "x" * (LARGEST_FIELD + 1))
    message, param = refused(http, *parts, status=413, code="request_too_large")
    assert (
        message == "The form's field `prompt` is longer than 1048576 bytes. Send a shorter value."
    )
    assert param == "prompt"


@pytest.mark.parametrize(
    ("body", "parameters", "message"),
    [
        (
            WHOLE,
            "",
            ("The form's Content-Type has no boundary. Let the HTTP client set that header, or "
            "send multipart/form-data; boundary=...."),
        ),
        (
            WHOLE,
            "; boundary=" + "x" * 300,
            "The form's boundary has 300 bytes. Send one of 1 to 70 bytes.",
        ),
        (
            WHOLE,
            '; boundary=""',
            ("The form's Content-Type has no boundary. Let the HTTP client set that header, or "
            "send multipart/form-data; boundary=...."),
        ),
        (
            WHOLE,
            "; boundary=other",
            ("The form does not start with its boundary. Start it with --, the boundary "
            "from its Content-Type, and CRLF."),
        ),
        (
            WHOLE.replace(b"\r\n", b"\n"),
            "; boundary=silk",
            ("The form does not start with its boundary. Start it with --, the boundary "
            "from its Content-Type, and CRLF."),
        ),
        (b"", "; boundary=silk", ("The form is truncated: its closing boundary is missing. "
         "Send the complete form.")),
        (
            b"--silk--\r\n",
            "; boundary=silk",
            "The form has no file named `image`. Upload the image under that name.",
        ),
        (
            WHOLE.replace(b"\r\n--silk\r\n", b"\r\n--silk x\r\n"),
            "; boundary=silk",
            BROKEN_BOUNDARY,
        ),
        (
            WHOLE.replace(b"\r\n--silk\r\n", b"\r\n--silk-\r\n"),
            "; boundary=silk",
            BROKEN_BOUNDARY,
        ),
        (
            WHOLE.replace(b"\r\n--silk\r\n", b"\r\n--silk\n"),
            "; boundary=silk",
            BROKEN_BOUNDARY,
        ),
        (
            WHOLE.replace(b"What is", b"\x81"),
            "; boundary=silk; charset=shift_jis",
            "The form's field `prompt` cannot be decoded as shift_jis. Send it in UTF-8.",
        ),
    ],
)  # fmt: skip
def test_a_form_as_a_whole(http: httpx2.Client, body: bytes, parameters: str, message: str) -> None:
    assert check(send(http, body, parameters), 400, "invalid_request")["message"] == message


@pytest.mark.parametrize(
    ("charset", "head"),
    [
        ("; charset=iso-8859-1", 'form-data; name="prompt"'),
        (
            "; charset=shift_jis",
            'form-data; name="prompt"\r\nContent-Type: text/plain; charset=latin-1',
        ),
    ],
)  # fmt: skip
def test_a_field_in_the_character_set_that_is_named(
    http: httpx2.Client, charset: str, head: str
) -> None:
    asked = send(http, form(IMAGE_PART, field("prompt", "Ein café?")))
    reply = send(
        http,
        form(IMAGE_PART, part(head, "Ein café?".encode("latin-1"))),
        f"; boundary=silk{charset}",
    )
    assert reply.json()["response"] == asked.json()["response"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"content-type": "application/x-www-form-urlencoded"},
            (
                "The Content-Type is application/x-www-form-urlencoded. Send "
                "application/json, or a form as multipart/form-data."
            ),
        ),
        (
            {"content-type": "image/jpeg"},
            (
                "The Content-Type is image/jpeg. Send application/json, or a form as "
                "multipart/form-data."
            ),
        ),
        (
            {},
            (
                "The Content-Type is missing. Send application/json, or a form as "
                "multipart/form-data."
            ),
        ),
    ],
)
def test_a_body_of_another_type(http: httpx2.Client, headers: dict[str, str], message: str) -> None:
    error = check(http.post("/predict", content=IMAGE, headers=headers), 400, "invalid_request")
    assert error["message"] == message
