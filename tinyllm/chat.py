r"""Talk with a model: python -m tinyllm.chat --model FOLDER

A line is a message, and answers go to stdout. Ctrl-C stops an answer and keeps
what was said; at the prompt it ends the chat, as Ctrl-D does. In between:

  /help          list the commands
  /reset         forget the conversation
  /regen         forget the last answer and answer anew
  /system TEXT   set the system message; without TEXT, show it
  /exit          end

A message that begins with a slash is written with two.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from tinyllm.cli import color
from tinyllm.cli.arguments import add_color, add_common, add_model, load_model
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.dialogue import lines, paragraphs
from tinyllm.cli.generation import add_choice, add_template, choose_template, generation_options
from tinyllm.cli.history import kept_from_others, read_history, write_history
from tinyllm.cli.terminal import Messages, is_terminal, printable, speed
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.inference.conversation import Conversation

_HELP = (__doc__ or "").partition("between:\n\n")[2].partition("\n\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.chat", description=__doc__)
    add_model(parser)
    group = add_template(parser)
    group.add_argument(
        "--history", metavar="FILE", help="go on with the conversation in FILE, and keep it there"
    )
    group.add_argument(
        "--trim", action="store_true",
        help="forget the oldest messages where the context is too short (default: an error)",
    )  # fmt: skip
    group.add_argument(
        "--multiline", action="store_true", help="a message goes on until a line with /send"
    )
    add_choice(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--stats", action=argparse.BooleanOptionalAction,
        help="print speed and length after each answer (default: on a terminal)",
    )  # fmt: skip
    add_color(output)
    add_common(parser)
    return run_command(parser, chat, argv)


def chat(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model; answer message by message until there are no more."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answers")
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is nobody to talk with")
    with nullcontext() if args.history is None else kept_from_others(args.history, messages.note):
        _talk(_begin(args, messages), args, messages)
    return 0


def _talk(conversation: "Conversation", args: argparse.Namespace, messages: Messages) -> None:
    by_hand = is_terminal(sys.stdin)
    if by_hand:
        messages.note("/help lists the commands, Ctrl-D ends the chat")
    typed = lines("> ", colored=color.wanted(args.color, sys.stdout))
    said = paragraphs(typed) if args.multiline else typed
    for text in said:
        if text.strip() in ("/exit", "/quit"):
            break
        try:
            answer = _obey(text, conversation, messages)
            if answer is None:
                continue
            _show(answer, messages, stoppable=by_hand)
        except UsageError as error:
            if not by_hand:
                raise
            messages.say(f"error: {error}")
            continue
        if args.history is not None:
            write_history(args.history, conversation.system, conversation.messages)
        _footer(conversation, args, messages)


def _begin(args: argparse.Namespace, messages: Messages) -> "Conversation":
    """Load what the flags name."""
    from tinyllm.inference.conversation import Conversation
    from tinyllm.inference.templates import TEMPLATES

    options = generation_options(args)
    system, before = read_history(args.history) if args.history is not None else (None, [])
    template = choose_template(args)
    if template is None:
        template = TEMPLATES["plain"]
        messages.note("note: the model has no chat template; talking in plain text (--template)")
    model = load_model(args, messages)
    messages.clear()
    return Conversation(
        model,
        template,
        system=system if args.system is None else args.system,
        messages=before,
        trim=args.trim,
        **options,
    )


def _obey(text: str, conversation: "Conversation", messages: Messages) -> Iterator[str] | None:
    """Return the answer to a message; None where it was a command."""
    if not text.strip():
        return None
    if not text.startswith("/") or text.startswith("//"):
        return conversation.say(text.removeprefix("/"))
    command, _, rest = text.partition(" ")
    match command.strip():
        case "/regen":
            return conversation.again()
        case "/reset":
            conversation.reset()
            messages.note("the conversation is forgotten")
        case "/system" if rest.strip():
            conversation.system = rest.strip()
        case "/system":
            messages.say(f"system: {conversation.system or ''}")
        case "/help":
            for line in _HELP.splitlines():
                messages.say(line)
        case _:
            raise UsageError(f"there is no command {command}; /help lists them")
    return None


def _show(answer: Iterator[str], messages: Messages, *, stoppable: bool) -> None:
    """Write an answer as it comes; at a terminal, Ctrl-C stops it and what was said stays."""
    show = printable if is_terminal(sys.stdout) else str
    messages.status("…")
    try:
        with closing(answer) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                messages.clear()
                sys.stdout.write(show(piece))
                sys.stdout.flush()
    except KeyboardInterrupt:
        if not stoppable:
            raise
    finally:
        messages.clear()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _footer(conversation: "Conversation", args: argparse.Namespace, messages: Messages) -> None:
    """Say how long and how fast the answer was, and how full the context is."""
    answer = conversation.last
    by_default = is_terminal(sys.stderr) and not args.quiet
    if answer is None or not (by_default if args.stats is None else args.stats):
        return
    drawn = len(answer.tokens)
    rate = speed(drawn - 1, answer.timings.decode_seconds).replace(", ", " · ")
    messages.say(f"{drawn} tok{rate} · ctx {answer.prompt_tokens + drawn}/{conversation.context}")


if __name__ == "__main__":
    sys.exit(main())
