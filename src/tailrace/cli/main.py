"""`tailrace`: the commands put together, and every error turned into a sentence."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml
from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

import tailrace
from tailrace import app as operator
from tailrace import errors, settings
from tailrace.api.definitions import ALL as KINDS
from tailrace.cli import adopt, definitions, explain, expose, files, gc, lint, output, render, status
from tailrace.cli import cluster as clusters
from tailrace.cli.exits import Exit
from tailrace.tailnet import tailscale

cli = App(
    name="tailrace",
    help="Put Kubernetes workloads on a tailnet, on Tailscale or on your own Headscale.",
    version=tailrace.__version__,
    version_flags=["--version"],
)
cli.register_install_completion_command()
cli.command(status.status)
cli.command(expose.expose)
cli.command(expose.unexpose)
cli.command(explain.explain)
cli.command(gc.gc)
cli.command(adopt.adopt)
cli.command(lint.lint)
cli.command(
    "tailrace.cli.sandbox:sandbox",  # loaded when it is asked for: a cluster is much to import
    help="Run a cluster in this process: Kubernetes API, control plane, proxies, and the operator.",
)


@cli.command
async def run(*, cluster: clusters.Target | None = None) -> int:
    """Run the operator; its settings are environment variables, as the official operator's."""
    target = cluster or clusters.Target()
    await operator.main(settings.load(os.environ), kubeconfig=target.kubeconfig, context=target.context)
    return Exit.OK


@cli.command(name="render")
def render_command(
    *,
    file: Annotated[
        list[Path],
        Parameter(
            name=["--file", "-f"],
            negative="",
            allow_leading_hyphen=True,
            help="Manifests: file, folder, or - for standard input.",
        ),
    ],
) -> int:
    """Print what `run` would apply for these manifests, without a cluster."""
    loaded = settings.load(os.environ)
    install = operator.build_install(
        settings.replace_namespace(loaded, loaded.namespace or "tailscale"),
        operator.find_login_server(loaded),
    )
    documents = files.read_documents(file)
    found = render.render(documents, install, datetime.now(UTC), tailscale=tailscale.LOGIN_SERVER)
    for note in found.notes:
        output.tell(f"note: {note}")
    if not found.manifests:
        output.tell("Nothing here asks for a proxy that could be made.")
        return Exit.OK
    print(yaml.safe_dump_all([dict(m) for m in found.manifests], sort_keys=False, width=110), end="")
    return Exit.OK


@cli.command
def crds() -> int:
    """Print the custom resource definitions that this version serves."""
    print("---\n".join(definitions.print_definition(kind) for kind in KINDS), end="")
    return Exit.OK


@cli.command
def version() -> int:
    """Print the version."""
    print(tailrace.__version__)
    return Exit.OK


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; no traceback ever reaches a person."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: list[str]) -> int:
    try:
        command, bound, _ = cli.parse_args(arguments, exit_on_error=False, print_error=False)
        outcome = command(*bound.args, **bound.kwargs)
        code = asyncio.run(outcome) if asyncio.iscoroutine(outcome) else outcome
        sys.stdout.flush()
        return int(code or Exit.OK)
    except CycloptsError as error:
        return tell_typo(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last boundary: a person gets a sentence
        return tell_failure(error)


def tell_typo(error: CycloptsError) -> int:
    """What was typed wrong, and whose help says how it is typed right."""
    surplus = error.unused_tokens if isinstance(error, UnusedCliTokensError) else None
    sentence = (
        f'"{" ".join(surplus)}" is more than the command takes.'
        if surplus
        else str(error).strip().splitlines()[0]
    )
    help_command = " ".join(("tailrace", *(error.command_chain or ()), "--help"))
    lists = "the arguments and options" if error.command_chain else "the commands"
    output.tell_error(sentence, hint=f"{help_command} lists {lists}")
    return Exit.USAGE


def tell_failure(error: BaseException) -> int:
    """One sentence and, where we know one, the way out."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case errors.Usage():
            output.tell_error(str(error), hint=error.hint)
            return Exit.USAGE
        case errors.Denied() | errors.Terminal() | errors.Conflict():
            output.tell_error(str(error), hint="kubectl auth can-i --list shows what you may do")
            return Exit.REFUSED
        case errors.TailraceError():
            output.tell_error(str(error), hint="kubectl cluster-info tells whether the cluster answers")
            return Exit.UNREACHABLE
        case BrokenPipeError():  # whoever read has seen enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
            return Exit.OK
        case _:
            output.tell_error(
                f"a fault of Tailrace: {type(error).__name__}: {error}", hint="please report it"
            )
            return Exit.FAULT
