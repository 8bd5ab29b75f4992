"""The shell program of a build, which runs all phases in one shell as buildspec version 0.2 demands."""

from __future__ import annotations

import shlex
from pathlib import Path

from localcloud.codebuild.buildspec import PHASES, BuildSpec, Phase

# The program reports its progress in lines: `begin BUILD`, `failed BUILD 2 <number of the command>`, `end BUILD`.
_PROLOGUE = """\
_cb_note() { printf '%s\\n' "$*" >> "$_CB_NOTES"; }
_cb_command() {
  printf '[Container] %s Running command %s\\n' "$(date -u '+%Y/%m/%d %H:%M:%S')" "$_cb_text"
  eval "$_cb_text"
  _cb_code=$?
  if [ "$_cb_code" -ne 0 ] && [ "$_cb_failed" -eq 0 ]; then
    printf '[Container] Command did not exit successfully %s exit status %s\\n' "$_cb_text" "$_cb_code"
    _cb_note "failed $_cb_phase $_cb_code $_cb_number"
    _cb_failed=1
  fi
}
_cb_abort=0
export CODEBUILD_BUILD_SUCCEEDING=1
"""
_EPILOGUE = "_cb_note done\n"
_ENDS_THE_BUILD = {"install": True, "pre_build": True, "build": False, "post_build": True}


def commands(spec: BuildSpec) -> list[str]:
    """Return all commands in the order of the numbers in the progress lines."""
    return [text for name in PHASES for text in (*spec.phases[name].commands, *spec.phases[name].finally_commands)]


def render(spec: BuildSpec, exports: str) -> str:
    """Return the text of the program.

    Args:
        spec: the buildspec.
        exports: folder for one file per exported variable.
    """
    lines = [_PROLOGUE]
    number = 0
    for name in PHASES:
        phase = spec.phases[name]
        lines.append(_render_phase(name, phase, number))
        number += len(phase.commands) + len(phase.finally_commands)
    for variable in spec.exported:
        lines.append(f'printf %s "${{{variable}-}}" > {shlex.quote(exports)}/{shlex.quote(variable)}\n')
    return "".join([*lines, _EPILOGUE])


def _render_phase(name: str, phase: Phase, number: int) -> str:
    title = name.upper()
    lines = [
        'if [ "$_cb_abort" -eq 0 ]; then\n',
        f"_cb_phase={title}; _cb_failed=0; _cb_note begin {title}\n",
        f"echo '[Container] Entering phase {title}'\n",
    ]
    for offset, text in enumerate((*phase.commands, *phase.finally_commands)):
        guard = "" if offset >= len(phase.commands) else '[ "$_cb_failed" -ne 0 ] || '
        lines.append(f"_cb_number={number + offset}; _cb_text={shlex.quote(text)}; {guard}_cb_command\n")
    aborts = phase.on_failure == "ABORT" or (phase.on_failure is None and _ENDS_THE_BUILD[name])
    if phase.on_failure != "CONTINUE":
        lines.append('if [ "$_cb_failed" -ne 0 ]; then CODEBUILD_BUILD_SUCCEEDING=0; fi\n')
    if aborts:
        lines.append('if [ "$_cb_failed" -ne 0 ]; then _cb_abort=1; fi\n')
    lines.append(f"_cb_note end {title}\nfi\n")
    return "".join(lines)


class ProgressReader:
    """Reader of the program's progress lines; it keeps its file open, whatever the program puts in its place."""

    def __init__(self, file: Path) -> None:
        self._source = file.open("x+b")
        self._rest = b""

    def new_entries(self) -> list[list[str]]:
        """Return the words of each complete line since the last call."""
        *lines, self._rest = (self._rest + self._source.read()).split(b"\n")
        return [line.decode(errors="replace").split() for line in lines]

    def close(self) -> None:
        """Close the file."""
        self._source.close()
