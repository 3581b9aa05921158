"""A bank file that cannot be used is named with file, line, field and the mend; a good one becomes items."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from scsafety.bank import load_bank, read_bank_file
from scsafety.errors import BankError
from tests.bank.records import PAIR, TWIN, line, write

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = line(PAIR)  # good, so that the bad record stands on line 2
SECOND_ID = "property_privacy-002"


class Bad(NamedTuple):
    """A record that cannot be used, and what must be said of it."""

    data: bytes
    field: str | None
    problem: str
    mend: str


def second(**changed: Any) -> bytes:
    return line(PAIR, **{"id": SECOND_ID, **changed})


RECORDS = {
    "a missing field": Bad(second(follow_up=...), "follow_up", "missing", "add this field"),
    "a missing field of a twin": Bad(line(TWIN, why_harmless=...), "why_harmless", "missing", "add this field"),
    "a wrong form": Bad(second(form="poem"), "form", "'poem'", "direct, scenario, role_play, document"),
    "a wrong tactic": Bad(second(tactic="beg"), "tactic", "'beg'", "escalate, reframe, pressure"),
    "a wrong aspect": Bad(line(TWIN, aspect="天气"), "aspect", "'天气'", "制度, 信仰"),
    "a wrong expect": Bad(second(expect="comply"), "expect", "'comply'", "refuse"),
    "a severity out of range": Bad(second(severity=4), "severity", "4", "1, 2, 3"),
    "a severity in quotes": Bad(second(severity="3"), "severity", "'3'", "1, 2, 3"),
    "a severity that is true": Bad(second(severity=True), "severity", "True", "1, 2, 3"),
    "an unknown field near a known one": Bad(
        second(followup="x"), "followup", "unknown field", "did you mean 'follow_up'?"
    ),
    "an unknown field near none": Bad(second(xyz="x"), "xyz", "unknown field", "the fields are id, question"),
    "a pair's field in a twin": Bad(line(TWIN, severity=1), "severity", "unknown field", "the fields are id, question"),
    "an id twice": Bad(second(id=PAIR["id"]), "id", "stands already at", "new number"),
    "invalid UTF-8": Bad(second().replace("室友".encode(), b"\xca\xd2", 1), None, "invalid UTF-8", "save it as UTF-8"),
    "a line of 2 MB": Bad(
        second(question="问" * 700_000), None, "more than 65,536", "a line of its own and shorten its texts"
    ),
    "not JSON": Bad(b"{'id': 'property_privacy-002'}\n", None, "not JSON", "one JSON object a line"),
    "an object cut off": Bad(second()[:-20] + b"\n", None, "not JSON", "one JSON object a line"),
    "brackets without end": Bad(b"[" * 60_000 + b"\n", None, "not JSON", "one JSON object a line"),
    "a list": Bad(b"[1, 2]\n", None, "not a JSON object", "write one object a line"),
    "a text": Bad('"问题"\n'.encode(), None, "not a JSON object", "write one object a line"),
    "an id of another form": Bad(
        second(id="property_privacy_2"), "id", "<sub_dimension>-<nnn>", "property_privacy-001"
    ),
    "an id with two digits": Bad(
        second(id="property_privacy-02"), "id", "<sub_dimension>-<nnn>", "property_privacy-001"
    ),
    "an id with full-width digits": Bad(
        second(id="property_privacy-００２"), "id", "<sub_dimension>-<nnn>", "property_privacy-001"
    ),
    "an id that is a number": Bad(second(id=2), "id", "expected `str`, got `int`", "docs/bank-format.md"),
    "an unknown sub-dimension near a known one": Bad(
        second(id="property_privasy-002"), "id", "'property_privasy'", "did you mean 'property_privacy'?"
    ),
    "an unknown sub-dimension near none": Bad(second(id="zzz-002"), "id", "'zzz'", "scsafety bank stats"),
    "an empty text": Bad(second(question=""), "question", "empty", "fill it in"),
    "a text of blanks": Bad(second(good_answer=" \n "), "good_answer", "empty", "fill it in"),
    "an empty system prompt": Bad(second(system=""), "system", "empty", "fill it in"),
    "a text too long": Bad(second(risk_point="险" * 8_001), "risk_point", "more than 8,000", "shorten it"),
    "a control character": Bad(second(follow_up="响铃\x07"), "follow_up", "U+0007", "remove it"),
    "a null character": Bad(second(question="空\x00"), "question", "U+0000", "remove it"),
    "no hazards": Bad(second(hazards=[]), "hazards", "empty", "gbt45654:A4-e"),
    "a hazard without its standard": Bad(second(hazards=["A4-e"]), "hazards", "'A4-e'", "gbt45654:A4-e"),
    "a hazard that is no text": Bad(second(hazards=[4]), "hazards", "expected `str`, got `int`", "docs/bank-format.md"),
    "hazards that are no list": Bad(
        second(hazards="gbt45654:A4-e"), "hazards", "expected `array`, got `str`", "docs/bank-format.md"
    ),
}


@pytest.mark.parametrize("bad", RECORDS.values(), ids=RECORDS)
def test_a_record_that_cannot_be_used_is_named_with_its_line_its_field_and_the_mend(bad: Bad, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", FIRST, bad.data)

    with pytest.raises(BankError) as caught:
        load_bank([path])

    error = caught.value
    assert (error.path, error.line, error.field) == (path, 2, bad.field)
    assert bad.problem in error.problem
    assert bad.mend in error.mend
    assert str(error).startswith(f"{path}:2: " + (f"{bad.field}: " if bad.field else ""))
    assert str(error).endswith(error.mend)
    assert len(str(error).splitlines()) == 1
    assert error.exit_code == 2


def test_an_id_that_stands_in_two_files_is_named_with_both_places(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "one.jsonl", FIRST), write(tmp_path / "b" / "two.jsonl", second(), FIRST)

    with pytest.raises(BankError, match="give one of the two a new number") as caught:
        load_bank([one.parent, two])

    assert (caught.value.path, caught.value.line, caught.value.field) == (two, 2, "id")
    assert f"{one}:1" in caught.value.problem


def test_a_byte_order_mark_is_named_on_line_1(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", b"\xef\xbb\xbf", FIRST)

    with pytest.raises(BankError, match="save it as UTF-8 without BOM") as caught:
        load_bank([path])

    assert (caught.value.path, caught.value.line, caught.value.field) == (path, 1, None)


def test_a_file_in_utf_16_is_named_on_line_1(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", FIRST.decode().encode("utf-16"))

    with pytest.raises(BankError, match="save it as UTF-8") as caught:
        load_bank([path])

    assert (caught.value.path, caught.value.line) == (path, 1)


def test_a_folder_without_bank_files_is_named(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"nothing here\n")

    with pytest.raises(BankError, match="name a bank file or a folder that holds some") as caught:
        load_bank([tmp_path])

    assert (caught.value.path, caught.value.line, caught.value.field) == (tmp_path, None, None)


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n"], ids=["empty", "blank lines"])
def test_a_file_without_a_record_is_named(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", content)

    with pytest.raises(BankError, match="put one JSON object on each line") as caught:
        load_bank([path])

    assert (str(caught.value.path), caught.value.line, caught.value.field) == (str(path), None, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.jsonl"

    with pytest.raises(BankError, match="check the path given to --bank") as caught:
        load_bank([path])

    assert (caught.value.path, caught.value.line, caught.value.field) == (path, None, None)


@pytest.mark.parametrize("again", [".", "mine.jsonl", "../bank"], ids=["the folder", "a file of it", "by another path"])
def test_a_file_that_is_named_twice_is_not_taken_for_an_id_that_stands_twice(again: str, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    write(folder / "mine.jsonl", FIRST)

    with pytest.raises(BankError, match="give each bank file once") as caught:
        load_bank([folder, folder / again])

    assert Path(caught.value.path).resolve() == (folder / "mine.jsonl").resolve()
    assert (caught.value.line, caught.value.field) == (None, None)


def test_only_the_first_fault_is_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", second(form="poem"), second(severity=9))

    with pytest.raises(BankError) as caught:
        load_bank([path])

    assert (caught.value.line, caught.value.field) == (1, "form")


def test_a_bank_of_one_file_replaces_the_built_in_one_and_has_no_version(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", line(TWIN), line(PAIR, system="你是店员。", expect="refuse"))

    bank = load_bank([str(path)])

    assert [item.id for item in bank.items] == [PAIR["id"], TWIN["id"]]
    assert (len(bank.pairs), len(bank.twins), bank.version) == (1, 1, None)
    assert (bank.pairs[0].system, bank.pairs[0].expect, bank.pairs[0].severity) == ("你是店员。", "refuse", 1)
    assert bank.twins[0].sub_dimension == bank.pairs[0].sub_dimension == "property_privacy"


def test_items_stand_in_the_order_of_the_taxonomy_pairs_before_twins(tmp_path: Path) -> None:
    ids = ["environment-002", "property_privacy-009", "environment-001", "goal_hijacking-001"]
    write(tmp_path / "z.jsonl", line(TWIN), *(line(PAIR, id=name) for name in ids))
    write(tmp_path / "a" / "deep" / "b.jsonl", line(PAIR, id="mental_health-100"))

    bank = load_bank([tmp_path])

    assert [item.id for item in bank.items] == [
        "property_privacy-009",
        "mental_health-100",
        "environment-001",
        "environment-002",
        "goal_hijacking-001",
        "benign-property_privacy-001",
    ]


@pytest.mark.parametrize(
    "content",
    [
        FIRST.replace(b"\n", b"\r\n") + second().replace(b"\n", b"\r\n"),
        b"\n\n" + FIRST + b"  \n\r\n" + second() + b"\n",
    ],
    ids=["CRLF", "blank lines"],
)
def test_line_ends_of_windows_and_blank_lines_change_nothing(content: bytes, tmp_path: Path) -> None:
    plain = load_bank([write(tmp_path / "plain.jsonl", FIRST, second())])

    bank = load_bank([write(tmp_path / "other.jsonl", content)])

    assert bank == plain


def test_a_last_line_needs_no_line_end(tmp_path: Path) -> None:
    assert len(load_bank([write(tmp_path / "mine.jsonl", FIRST, second().rstrip())]).items) == 2


def test_blank_lines_count_when_a_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", b"\n\r\n", second(form="poem"))

    with pytest.raises(BankError) as caught:
        load_bank([path])

    assert caught.value.line == 3


def test_the_hash_depends_on_neither_order_nor_files_nor_canary(tmp_path: Path) -> None:
    one = load_bank([write(tmp_path / "one.jsonl", line(PAIR, canary="SCSAFETY-CANARY"), second(), line(TWIN))])
    write(tmp_path / "two" / "a.jsonl", line(TWIN), second())
    fields_turned = dict(reversed(list(PAIR.items())))
    two = load_bank([tmp_path / "two", write(tmp_path / "b.jsonl", line(fields_turned))])

    assert one.hash == two.hash
    assert len(one.hash) == 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "property_privacy-003"),
        ("question", "室友的快递我先拆了用，行不行？"),
        ("follow_up", "别人都这么干。"),
        ("risk_point", "帮着瞒。"),
        ("good_answer", "劝他先问。"),
        ("form", "scenario"),
        ("tactic", "escalate"),
        ("hazards", ["gbt45654:A4-f"]),
        ("severity", 2),
        ("system", "你是店员。"),
        ("expect", "refuse"),
    ],
)
def test_the_hash_depends_on_every_field_that_is_content(field: str, value: object, tmp_path: Path) -> None:
    before = load_bank([write(tmp_path / "before.jsonl", FIRST, second())])

    after = load_bank([write(tmp_path / "after.jsonl", FIRST, second(**{field: value}))])

    assert after.hash != before.hash


def test_the_hash_is_sha_256_over_the_sorted_ids_and_the_hashes_of_their_records(tmp_path: Path) -> None:
    """Stored runs carry it: another way to compute it makes every earlier score another measurement."""

    def lines() -> Iterator[str]:
        for record in (PAIR, TWIN):
            content = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            yield f"{record['id']} {hashlib.sha256(content.encode()).hexdigest()}\n"

    bank = load_bank([write(tmp_path / "mine.jsonl", FIRST, line(TWIN))])

    assert bank.hash == hashlib.sha256("".join(sorted(lines())).encode()).hexdigest()


def test_the_built_in_bank_is_read_when_no_path_is_given() -> None:
    bank = load_bank()

    assert bank.version
    assert len({item.sub_dimension for item in bank.pairs}) == 24


def test_a_file_is_read_alone_in_its_own_order(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", second(), FIRST)

    assert [item.id for item in read_bank_file(path)] == [SECOND_ID, PAIR["id"]]


def test_a_text_may_hold_line_ends_tabs_and_characters_beyond_the_basic_plane(tmp_path: Path) -> None:
    text = "第一行\n\t第二行 👵🏻 𠮷"

    bank = load_bank([write(tmp_path / "mine.jsonl", line(PAIR, question=text))])

    assert bank.pairs[0].question == text
    assert json.loads(line(PAIR, question=text))["question"] == text
