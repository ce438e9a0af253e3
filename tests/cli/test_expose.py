"""`tailrace expose` and `unexpose`: they wait for the operator, and refuse what it would refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tailrace.api import names
from tailrace.cli import expose
from tailrace.cli.exits import Exit
from tests.cli.town import HOME, Person, Town, backend, service


def notes(town: Town, name: str) -> dict[str, str]:
    found: dict[str, str] = town.get(name)["metadata"].get("annotations", {})
    return found


def test_a_service_goes_onto_the_tailnet_and_off_again(town: Town, person: Person) -> None:
    town.apply(service("web", ports=(80, 81)), backend("web"))
    options = ("--hostname", "front", "--tags", "tag:k8s", "--mode", "userspace")
    said = person.type("expose", "default/web", *options)
    assert said.code == Exit.OK, said.err
    assert [url.startswith("http://front.") for url in said.out.splitlines()] == [True, True]
    assert f"cluster: sandbox ({town.world.url})" in said.err
    assert "waiting" in said.err
    assert notes(town, "web") == {
        names.EXPOSE: "true",
        names.HOSTNAME: "front",
        names.TAGS: "tag:k8s",
        names.MODE: "userspace",
    }
    again = person.type("expose", "default/web", *options)
    assert (again.code, again.out) == (Exit.OK, said.out)
    assert "needs no change" in again.err

    gone = person.type("unexpose", "default/web")
    assert (gone.code, gone.out) == (Exit.OK, "")
    assert notes(town, "web") == {}
    assert not town.on(lambda world: [n for n in world.plane.tailnet.nodes.all() if n.name == "front"])
    assert person.type("unexpose", "default/web").code == Exit.OK


def test_a_new_hostname_is_waited_for(town: Town, person: Person) -> None:
    town.apply(service("shop"), backend("shop"))
    assert person.type("expose", "svc/shop").code == Exit.OK
    said = person.type("expose", "service/default/shop", "--hostname", "store")
    assert said.out.startswith("http://store.")


def test_it_need_not_be_waited_for(town: Town, person: Person) -> None:
    town.apply(service("slow"))
    said = person.type("expose", "default/slow", "--no-wait")
    assert (said.code, said.out) == (Exit.OK, "")
    assert "is to be exposed" in said.err
    assert person.type("unexpose", "default/slow", "--no-wait").code == Exit.OK


def test_what_does_not_become_ready_in_time_is_told_with_the_reason(town: Town, person: Person) -> None:
    town.apply(service("empty", expose="true"))
    town.wait_for("empty", "False", "NoEndpoints")
    said = person.type("expose", "default/empty", "--timeout", "0s")
    assert (said.code, said.out) == (Exit.NOT_READY, "")
    assert "error: Service default/empty is not ready: nothing is behind the Service" in said.err
    assert "hint: tailrace explain default/empty" in said.err


def test_a_refusal_of_the_operator_ends_the_wait(town: Town, person: Person) -> None:
    town.apply(service("first", expose="true", hostname="same"), service("second"), backend("second"))
    town.wait_for("first", "False", "NoEndpoints")
    said = person.type("expose", "default/second", "--hostname", "same")
    assert said.code == Exit.NOT_READY
    assert 'is refused: the hostname "same" belongs to the older Service default/first' in said.err
    mended = person.type(
        "expose", "default/second", "--hostname", "other"
    )  # the old refusal still stands there
    assert (mended.code, mended.out.startswith("http://other.")) == (Exit.OK, True)


def test_a_tag_that_the_control_plane_refuses_ends_the_wait(town: Town, person: Person) -> None:
    town.apply(service("tagged"))
    said = person.type("expose", "default/tagged", "--tags", "tag:nobody")
    assert said.code == Exit.NOT_READY
    assert "tag:nobody" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hostname", "a.b"), 'tailscale.com/hostname "a.b" has dots: write one label'),
        (("--tags", "k8s"), 'tailscale.com/tags has "k8s": write "tag:" and a letter'),
        (("--mode", "kernl"), 'tailrace.dev/mode is "kernl": write one of auto, kernel, userspace'),
        (("--timeout", "soon"), '--timeout "soon" is not a duration'),
    ],
)
def test_what_the_operator_would_refuse_is_refused_in_its_words_before_anything_changes(
    options: tuple[str, ...], said: str, town: Town, person: Person
) -> None:
    town.apply(service("strict"))
    found = person.type("expose", "default/strict", *options)
    assert (found.code, found.out) == (Exit.USAGE, "")
    assert said in found.err
    assert "hint: " in found.err
    assert notes(town, "strict") == {}


def test_what_this_version_does_not_serve_is_refused(town: Town, person: Person) -> None:
    grouped = service("grouped")
    grouped["metadata"]["annotations"][names.PROXY_GROUP] = "some"
    town.apply(grouped)
    said = person.type("expose", "default/grouped")
    assert said.code == Exit.USAGE
    assert "which this version does not serve" in said.err


def test_what_leads_out_is_not_exposed_at_once(town: Town, person: Person) -> None:
    outwards = service("out")
    outwards["metadata"]["annotations"][names.TAILNET_FQDN] = "db.example.ts.net"
    town.apply(outwards)
    said = person.type("expose", "default/out")
    assert said.code == Exit.USAGE
    assert "write one of the two" in said.err
    assert names.EXPOSE not in notes(town, "out")


def test_a_class_shapes_the_proxy_and_is_taken_away_again(town: Town, person: Person) -> None:
    labels = {"statefulSet": {"labels": {"team": "web"}}}
    town.apply(
        {
            "apiVersion": "tailscale.com/v1alpha1",
            "kind": "ProxyClass",
            "metadata": {"name": "teams"},
            "spec": labels,
        },
        service("shaped"),
        backend("shaped"),
    )
    said = person.type("expose", "default/shaped", "--proxy-class", "teams")
    assert said.code == Exit.OK, said.err
    assert notes(town, "shaped")[names.PROXY_CLASS] == "teams"
    wrong = person.type("expose", "default/shaped", "--proxy-class", "teems")
    assert wrong.code == Exit.NOT_READY
    assert 'ProxyClass "teems" does not exist' in wrong.err
    assert person.type("unexpose", "default/shaped").code == Exit.OK
    assert notes(town, "shaped") == {}


def test_a_class_that_the_label_overrules_is_refused(town: Town, person: Person) -> None:
    labelled = service("labelled")
    labelled["metadata"]["labels"] = {names.PROXY_CLASS: "one"}
    town.apply(labelled)
    said = person.type("expose", "default/labelled", "--proxy-class", "two")
    assert said.code == Exit.USAGE
    assert f'the label {names.PROXY_CLASS} says "one"' in said.err


def test_a_tailnet_that_there_is_not_is_told(town: Town, person: Person) -> None:
    town.apply(service("lost"))
    said = person.type("expose", "default/lost", "--tailnet", "nowhere", "--timeout", "3s")
    assert said.code == Exit.NOT_READY
    assert 'there is no Tailnet "nowhere"' in said.err


def test_a_load_balancer_is_not_unexposed_by_annotations(town: Town, person: Person) -> None:
    balancer: dict[str, Any] = service("lb")
    balancer["spec"] |= {"type": "LoadBalancer", "loadBalancerClass": "tailscale"}
    town.apply(balancer)
    said = person.type("unexpose", "default/lb")
    assert said.code == Exit.USAGE
    assert "hint: change spec.type to ClusterIP" in said.err


def test_a_service_that_leads_out_is_not_unexposed_and_keeps_its_annotations(
    town: Town, person: Person
) -> None:
    leading: dict[str, Any] = service("away", tags="tag:k8s")
    leading["metadata"]["annotations"][names.TAILNET_IP] = "100.64.0.77"
    leading["spec"] = {"type": "ExternalName", "externalName": "unset"}
    town.apply(leading)
    said = person.type("unexpose", "default/away", "--timeout", "1s")
    assert said.code == Exit.USAGE
    assert "leads out to the tailnet; it is not exposed" in said.err
    assert notes(town, "away")[names.TAGS] == "tag:k8s"


def test_a_wrong_name_is_answered_with_the_nearest(town: Town, person: Person) -> None:
    town.apply(service("grafana"))
    for command in ("expose", "unexpose", "explain"):
        said = person.type(command, "default/grafna")
        assert said.code == Exit.USAGE
        assert "hint: did you mean default/grafana?" in said.err


def test_without_an_operator_the_wait_ends_and_says_so(quiet_town: Town, person: Person) -> None:
    quiet_town.apply(service("alone"))
    someone = dataclasses.replace(person, town=quiet_town, kubeconfig=quiet_town.world.kubeconfig)
    said = someone.type("expose", "default/alone", "--timeout", "1s")
    assert said.code == Exit.NOT_READY
    assert "no operator has looked at it yet" in said.err
    said = someone.type("unexpose", "default/alone", "--timeout", "1s")
    assert said.code == Exit.OK  # nobody has put anything on it


def test_a_cluster_that_does_not_answer_for_a_moment_is_asked_again(
    town: Town, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.apply(service("patient"), backend("patient"))
    patch = expose.annotate

    async def annotate(*arguments: Any, **options: Any) -> bool:
        done = await patch(*arguments, **options)
        town.on(lambda world: world.api.faults.fail_next(503, times=2))
        return done

    monkeypatch.setattr(expose, "annotate", annotate)
    assert person.type("expose", "default/patient").code == Exit.OK


def test_who_may_only_edit_services_can_expose(town: Town, person: Person) -> None:
    """The operator's settings, Secrets and proxies may be closed to a developer."""
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "patch"]}]
    developer = person.as_account("developer", rules)
    town.apply(service("mine"), backend("mine"))
    said = developer.type("expose", "default/mine")
    assert said.code == Exit.OK, said.err
    assert "There is no Service default/minne." in developer.type("expose", "default/minne").err
    listed = developer.type("status", "-n", "default")
    assert listed.code == Exit.OK
    assert "service/default/mine" in listed.out
    assert "note: modes, devices and URLs are left out" in listed.err
    assert HOME in listed.err
