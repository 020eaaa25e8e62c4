"""Writes scripts for tab completion in bash and zsh.

tyro's scripts complete no file names of positional arguments, and start Python at every tab.
"""

import importlib
import shlex
from collections.abc import Iterable

from charlm.cli import option_table
from charlm.errors import InputError

SHELLS = "bash", "zsh"
# to be read with `eval`; zsh reads bash's functions after bashcompinit
START = {
    "bash": "",
    "zsh": "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n",
}
MORE = {"bash": " -o filenames", "zsh": ""}  # a slash after folders; zsh adds it by itself
SCRIPT = """\
_charlm() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words="" files=""
  COMPREPLY=()
  local runs="latest $(command ls saved_models 2>/dev/null | tr '\\n' ' ')"
  if [ "$COMP_CWORD" -eq 1 ]; then
    words={commands}
  else
    case "${{COMP_WORDS[1]}} $before" in
{values}
      *) case "${{COMP_WORDS[1]}}" in
{options}
      esac
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [ -n "$files" ]; then
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}}
complete -o default{more} -F _charlm charlm
"""


def script(argv: list[str], commands: dict[str, tuple[str, str]], others: Iterable[str]) -> str:
    """Returns the script for a shell.

    Args:
        argv: the shell's name.
        commands: {name: (module, meaning)}.
        others: names of commands without options.

    Raises:
        InputError: `argv` is something else.
    """
    if len(argv) != 1 or argv[0] not in SHELLS:
        found = shlex.join(argv) or "none"
        raise InputError(
            f"expected charlm completion {' or '.join(SHELLS)}, found {found}; put eval "
            '"$(charlm completion bash)" into ~/.bashrc'
        )
    values, options = [], []
    for name, (module, _) in commands.items():
        kind = getattr(importlib.import_module(module), name.capitalize())
        listed = option_table.every(kind)
        values += [x for x in map(_values(name), listed) if x]
        options.append(_options(name, listed))
    values.append(_case('"help "*', shlex.quote(" ".join(commands))))
    values.append(_case('"completion "*', shlex.quote(" ".join(SHELLS))))
    return START[argv[0]] + SCRIPT.format(
        more=MORE[argv[0]],
        commands=shlex.quote(" ".join([*commands, *others, "--version", "--help"])),
        values="\n".join(values),
        options="\n".join(options),
    )


def _values(command):
    """Returns a function that writes the line for the values of an option."""

    def line(option):
        patterns = "|".join(f'"{command} {flag}"' for flag in option.flags)
        if not patterns or not option.value:
            return None
        if option.choices:
            return _case(patterns, shlex.quote(" ".join(option.choices)))
        if option.value == "RUN":
            return _case(patterns, '"$runs"', "; files=1")
        return f"      {patterns}) return ;;"  # file names, which `-o default` completes

    return line


def _options(command, options):
    flags = " ".join([*(o.flags[-1] for o in options if o.flags), "--help"])
    takes = {o.value.removesuffix(" ...") for o in options if not o.flags}
    runs = " $runs" if "RUN" in takes else ""
    line = f'      {command}) words="{flags}{runs}"'
    # an option is completed after a dash; elsewhere a positional argument may follow, too
    files = f'; case "$cur" in -*) ;; *) files={"1" if takes else ""} ;; esac'
    return f"{line}{files} ;;"


def _case(pattern, words, more=""):
    return f"      {pattern}) words={words}{more} ;;"
