"""docs/data.md: its files are written, its run files read them, and give the rows that it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from doc_pages import DOCS, block, write_blocks

from rft_core import BuildContext, DataSource
from rft_core.registry import Registry

PAGE = DOCS / "data.md"
REGISTRY = Registry.discover()


def source(folder: Path, name: str, part: str = "train") -> DataSource:
    raw = yaml.safe_load(block(PAGE, name))["data"][part]
    found: DataSource = REGISTRY.build("data_source", raw, BuildContext(base_dir=folder))
    return found


def rows(found: DataSource) -> list[dict[str, Any]]:
    return [dict(found.item(n).row) for n in range(len(found))]


def test_the_first_row_of_the_table(tmp_path: Path) -> None:
    """The CSV of the page gives the row that the page shows."""
    write_blocks(PAGE, tmp_path)
    assert rows(source(tmp_path, "reviews.yaml"))[0] == json.loads(block(PAGE, "first.json"))


def test_the_filter_of_the_page(tmp_path: Path) -> None:
    """One row meets both conditions."""
    write_blocks(PAGE, tmp_path)
    assert [row["pmid"] for row in rows(source(tmp_path, "filters.yaml"))] == ["103"]


def test_the_split_of_the_page(tmp_path: Path) -> None:
    """Both parts together are the table's publications, and none is in both."""
    write_blocks(PAGE, tmp_path)
    text = "pmid,question\n" + "".join(f"{n // 2},q{n}\n" for n in range(400))
    (tmp_path / "reviews.csv").write_text(text)
    train, validation = (
        {row["pmid"] for row in rows(source(tmp_path, "splits.yaml", part))} for part in ("train", "validation")
    )
    assert not train & validation
    assert 5 < len(validation) < 40 < 120 < len(train)


def test_every_data_source_is_on_the_page() -> None:
    """The table names each source of the bundled plugins but the arithmetic example's."""
    told = PAGE.read_text(encoding="utf-8")
    for name in REGISTRY.names("data_source"):
        found = REGISTRY.registered("data_source", name)
        if (DOCS.parent / "plugins" / found.owner.distribution).is_dir() and name != "arithmetic":
            assert f"`{name}`" in told, name
