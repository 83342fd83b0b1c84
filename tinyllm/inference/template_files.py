"""Which template a model was tuned on: its files say it as a program (Jinja).

The program is data here: it is searched for the marks of the known templates, and never run.
"""

import re
from dataclasses import replace
from pathlib import Path

from tinyllm.errors import ConfigError, UsageError
from tinyllm.files import read_bytes
from tinyllm.inference.templates import TEMPLATES, Template
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.shown import plain

# What makes a program another template than the one whose marks it has. (What it does about tools
# does not matter: there are none here.)
_FOREIGN = ("<think>", "reasoning", "[SYSTEM_PROMPT]", "enable_thinking")
_SYSTEM_SAYS = r"<\|im_start\|>system(?:\\n|\n)"  # and then a text, where it is not closed
_CHATML_SYSTEM = re.compile(_SYSTEM_SAYS + r"([^<{}'\"\\]{1,1000})<\|im_end\|>")
_CHATML_ANY_SYSTEM = re.compile(_SYSTEM_SAYS + r"(?!['\"{])")


def find_template(folder: Path) -> Template | None:
    """Return the chat template of the model in `folder`; None where it has none.

    Raises UsageError where it is not one of the known, and ConfigError where it cannot be read.
    """
    program = read_template(folder)
    if program is None:
        return None
    template = recognise(program)
    if template is None:
        raise UsageError(
            f"{plain(folder)}: its chat template is a program, which is not run, and none that "
            f"tinyllm knows; use --raw, or --template with one of {', '.join(TEMPLATES)}"
        )
    return template


def read_template(folder: Path) -> str | None:
    """Read chat_template.jinja, or else `chat_template` in tokenizer_config.json, as text."""
    if (path := folder / "chat_template.jinja").exists():
        try:
            return read_bytes(path, ConfigError, MEBIBYTE).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{plain(path)}: is not UTF-8 at byte {error.start}") from error
    if not (path := folder / "tokenizer_config.json").exists():
        return None
    entry = read_json(path, ConfigError).get("chat_template")
    if isinstance(entry, list):  # several by name, one of them for chatting
        named = [e for e in entry if isinstance(e, dict) and e.get("name") == "default"]
        entry = named[0].get("template") if named else entry
    if entry is not None and not isinstance(entry, str):
        raise ConfigError(f"{plain(path)}: chat_template is {str(entry)[:40]!r}; expected a text")
    return entry


def recognise(program: str) -> Template | None:
    """Return the template that a program writes, by the marks in it; None for an unknown one."""

    def has(*marks: str) -> bool:
        return all(mark in program for mark in marks)

    if any(mark in program for mark in _FOREIGN):
        return None
    if has("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"):
        return TEMPLATES["llama3.1" if has("Cutting Knowledge Date: December 2023") else "llama3"]
    if has("<|im_start|>", "<|im_end|>"):
        own = _CHATML_SYSTEM.findall(program)
        if len(own) != len(_CHATML_ANY_SYSTEM.findall(program)) or len(set(own)) > 1:
            return None
        return replace(TEMPLATES["chatml"], system=own[0] if own else None)
    if has("[INST]", "[/INST]", "bos_token", "eos_token"):
        return TEMPLATES["llama2" if has("<<SYS>>", "<</SYS>>") else "mistral"]
    return None
