"""Help, man pages, completion and the documents say the same."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rnnconv_codec.cli.group import cli

ROOT = Path(__file__).parent.parent
CONTEXT = click.Context(cli)
COMMANDS = cli.list_commands(CONTEXT)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def options(name: str) -> set[str]:
    """The long option strings of a command."""
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    return {
        string
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for string in (*parameter.opts, *parameter.secondary_opts)
        if string.startswith("--") and string not in ("--force", "--verify")
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_all_its_options(name: str) -> None:
    page = (ROOT / "docs" / "commands" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# rnncodec {name}\n")
    assert f"\n    rnncodec {name} " in page
    missing = {option for option in options(name) if f"`{option}" not in page}
    assert missing == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_lists(name: str) -> None:
    assert f"(docs/commands/{name}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"(commands/{name}.md)" in (ROOT / "docs" / "CLI.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name
)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("    "))
    targets = [target for target in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_there_is_a_man_page_of_every_command(name: str, tmp_path: Path) -> None:
    pytest.importorskip("click_man")
    from click_man.core import write_man_pages

    script = runpy.run_path(str(ROOT / "scripts" / "build_man.py"))
    write_man_pages("rnncodec", script["whole_group"](), version="1", target_dir=tmp_path)
    page = (tmp_path / f"rnncodec-{name}.1").read_text(encoding="utf-8").replace("\\-", "-")
    assert all(option in page for option in options(name))
    assert f"  rnncodec {name} " in page  # an example
    assert f"rnncodec-{name}(1)" in (tmp_path / "rnncodec.1").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rnncodec en", "encode"),
        ("rnncodec decode --back", "--background"),
        ("rnncodec decode --format t", "tiff"),
    ],
)
def test_the_shell_completes_commands_options_and_values(words: str, expected: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from rnnconv_codec.cli.group import cli; cli(prog_name='rnncodec')",
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_RNNCODEC_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"plain,{expected}" in done.stdout.splitlines()
