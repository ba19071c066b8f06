"""The command `rft-engine`. Each command imports what it needs when it runs, so that --help is quick.

`RFT_DEBUG=1` shows the traceback behind an error sentence.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from rft_core import __version__

if TYPE_CHECKING:
    from rft_core.registry import Registry

COMMANDS = {
    "run": ("rft_core.cli.run_commands", "Run a run file."),
    "resume": ("rft_core.cli.run_commands", "Continue a run exactly where it stands, or extend it."),
    "validate": ("rft_core.cli.validate_command", "Check a run file and its data before anything heavy starts."),
    "plugins": ("rft_core.cli.plugin_commands", "List installed plugins, or show one component."),
    "eval": ("rft_core.cli.eval_command", "Evaluate a run or a model on a data file."),
    "grade": ("rft_core.cli.grade_command", "Grade one completion, or a file of cases, without a run."),
    "regrade": ("rft_core.cli.regrade_command", "Grade a run's rollouts again, and show what would have changed."),
    "check-grader": ("rft_core.cli.check_grader_command", "Try a grader on right, wrong and adversarial answers."),
    "runs": ("rft_core.cli.inspect_commands", "List runs."),
    "show": ("rft_core.cli.inspect_commands", "Show what came of a run."),
    "samples": ("rft_core.cli.samples_command", "Read completions and grades of a run."),
}

REGISTRY = "rft_core.registry"
"""Key in click's context."""


class LazyGroup(click.Group):
    """Finds a command's module when the command is used. Plugins add commands by `rft_commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *self._plugin_names(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(COMMANDS[cmd_name][0])
            command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
            return command
        if cmd_name not in self._plugin_names(ctx):
            return None
        return _load_plugin_command(self._registry(ctx), cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        choices = self.list_commands(ctx)
        if name and not name.startswith("-") and name not in choices:
            from rft_core.errors import nearest

            raise click.UsageError(f"there is no command '{name}'{nearest(name, choices)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        registry = self._registry(ctx)
        rows += [(name, _summary(registry, name)) for name in self._plugin_names(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _plugin_names(self, ctx: click.Context) -> list[str]:
        return [name for name in self._registry(ctx).names("command") if name not in COMMANDS]

    def _registry(self, ctx: click.Context) -> Registry:
        """Discovered once per call of the command."""
        from rft_core.registry import Registry

        if REGISTRY not in ctx.meta:
            ctx.meta[REGISTRY] = Registry.discover()
        registry: Registry = ctx.meta[REGISTRY]
        return registry


def _summary(registry: Registry, name: str) -> str:
    from rft_core.errors import PluginError

    try:
        spec: Any = registry.registered("command", name).spec
    except PluginError as error:
        return str(error)  # two plugins claim the name: --help still works, and says so
    return str(spec.summary)


def _load_plugin_command(registry: Registry, name: str) -> click.Command:
    """PluginError if two plugins claim the name, or if the one that has it cannot load it."""
    from rft_core.errors import PluginError, RftError
    from rft_core.specs import CommandSpec

    found = registry.registered("command", name)
    assert isinstance(found.spec, CommandSpec)
    try:
        return found.spec.load()
    except RftError:
        raise
    except Exception as error:
        raise PluginError(
            f"the command '{name}' of {found.owner} cannot be loaded: {type(error).__name__}: {error}; "
            "reinstall the plugin, or ask its authors"
        ) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rft-engine")
def cli() -> None:
    """Reinforcement fine-tuning: a data file, a grader and an open model in, a better model out."""


def main() -> None:
    """Entry point: errors of the user become one sentence and an exit code, never a traceback."""
    from rft_core.boundary import disk_error
    from rft_core.cli.logs import configure_logs, tolerate_any_text
    from rft_core.errors import RftError

    configure_logs()
    tolerate_any_text()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except RftError as error:
        _show_traceback_if_asked()
        click.echo(f"rft-engine: {_one_line(error)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show_traceback_if_asked()
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except Exception as error:  # a full disk has its exit code wherever it is met: a file for --out, standard output
        if (full := disk_error(error, "the command", then="then try again")) is None:
            raise
        _show_traceback_if_asked()
        click.echo(f"rft-engine: {_one_line(full)}", err=True)
        sys.exit(full.exit_code)


def _one_line(error: Exception) -> str:
    """The sentence of an error, which may quote a row or a completion, without anything that acts on a terminal."""
    from rft_core.cli.output import inert

    return inert(str(error))


def _show_traceback_if_asked() -> None:
    if os.environ.get("RFT_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
