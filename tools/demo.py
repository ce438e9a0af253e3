"""The demo: the Services of five clusters, what each becomes, and which mistakes are refused; offline.

What is printed is what `tailrace run` would apply in a fresh cluster that admits privileged pods: the same decision, the
same manifests.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tailrace import app, settings
from tailrace.api import names
from tailrace.cli import files, render
from tailrace.kinds.service import request
from tailrace.proxy import names as proxy_names

EXAMPLES = Path(__file__).resolve().parent.parent / "deploy" / "examples"


def main() -> None:
    loaded = settings.replace_namespace(settings.load({}), "tailscale")
    install = app.build_install(loaded, "https://headscale.example.com")
    documents = files.read_documents([EXAMPLES / "five-clusters"])
    found = render.render(documents, install, datetime.now(UTC))
    modes = {
        m["metadata"]["name"]: m["metadata"]["annotations"][names.PROXY_MODE]
        for m in found.manifests
        if m["kind"] == "StatefulSet"
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("SERVICE", "DEVICE", "TAGS", "MODE", "PORTS", "PROXY"):
        table.add_column(title, no_wrap=True)
    for document in documents:
        if document["kind"] != "Service":
            continue
        service = render.read_service(document)
        wish = request.read_request(service, install.defaults)
        child = proxy_names.build_child_name("svc", service.metadata.namespace, service.metadata.name)
        ports = ",".join(f"{p.port}/{p.protocol.lower()}" for p in service.spec.ports)
        where = f"{service.metadata.namespace}/{service.metadata.name}"
        table.add_row(where, wish.hostname, ",".join(wish.tags), modes[child], ports, child)
    console = Console(width=130)
    console.print("The Services of five clusters, and the device that each becomes:\n")
    console.print(table)
    kinds = sorted({str(m["kind"]) for m in found.manifests})
    console.print(
        f"\n{len(found.manifests)} objects would be applied ({', '.join(kinds)}), none holds a key."
    )
    mistakes = render.render(files.read_documents([EXAMPLES / "mistakes"]), install, datetime.now(UTC))
    console.print("\nA mistake is refused with a sentence:\n")
    for note in mistakes.notes[-1:]:
        console.print(f"  {note}", soft_wrap=True)


if __name__ == "__main__":
    main()
