"""Rules of custom resources and what a real kube-apiserver 1.36 said of them; the table of `test_cel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

V = "x-kubernetes-validations"
Node = dict[str, Any]
STR: Node = {"type": "string", "maxLength": 64}
SHORT: Node = {"type": "string", "maxLength": 8}
INT: Node = {"type": "integer"}
ABSENT = object()


def rule(source: str, **facts: Any) -> Node:
    return {"rule": source, **facts}


def text(*rules: Node) -> Node:
    return {**STR, V: list(rules)}


def obj(properties: dict[str, Node], *rules: Node, **facts: Any) -> Node:
    return {"type": "object", "properties": properties, **facts, V: list(rules)}


def listed(items: Node, *rules: Node, **facts: Any) -> Node:
    return {"type": "array", "maxItems": 8, "items": items, **facts, V: list(rules)}


def only(source: str) -> Node:
    return text(rule(source))


@dataclass(frozen=True)
class Case:
    name: str
    node: Node
    new: Any
    old: Any = ABSENT
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    name: str
    node: Node
    path: str
    said: str


CONNECTOR = obj(
    {
        "subnetRouter": {"type": "object"},
        "exitNode": {"type": "boolean"},
        "appConnector": {"type": "object"},
        "hostname": STR,
        "replicas": INT,
        "hostnamePrefix": STR,
        "tailnet": text(rule("self == oldSelf", message="the tailnet stays")),
    },
    rule(
        "has(self.appConnector) || has(self.subnetRouter) || (has(self.exitNode) && self.exitNode)",
        message="one role at least",
    ),
    rule(
        "!has(self.appConnector) || !(has(self.subnetRouter) || has(self.exitNode) && self.exitNode)",
        message="appConnector goes alone",
    ),
    rule(
        "!has(self.hostname) || !has(self.replicas) || self.replicas < 2", message="one hostname, one replica"
    ),
    rule("!(has(self.hostname) && has(self.hostnamePrefix))"),
)
GROUP = obj(
    {"type": text(rule("self == oldSelf", message="the type stays")), "kubeAPIServer": obj({"mode": STR})},
    rule("self.type != 'kube-apiserver' || has(self.kubeAPIServer)"),
)
ITEM = obj(
    {"name": STR, "v": {"type": "integer", V: [rule("self >= oldSelf", message="never less")]}},
    required=["name"],
)
BY_NAME = {**listed(ITEM), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
EITHER = {
    "x-kubernetes-int-or-string": True,
    V: [rule("type(self) == string ? self.endsWith('%') : self < 5")],
}


CASES = [
    Case(
        "reserved",
        obj(
            {"namespace": STR, "if": STR},
            rule("has(self.namespace) && self.namespace == self.__namespace__ && self.__if__ == 'b'"),
        ),
        {"namespace": "n", "if": "a"},
        said=(
            "spec.v: Invalid value: failed rule: has(self.namespace) && self.namespace == self.__namespace__ && self.__if__ == 'b'",
        ),
    ),
    Case(
        "reserved ok",
        obj(
            {"namespace": STR, "if": STR},
            rule("has(self.namespace) && self.namespace == self.__namespace__ && self.__if__ == 'a'"),
        ),
        {"namespace": "n", "if": "a"},
    ),
    Case(
        "int double",
        {"type": "integer", V: [rule("self < 1.5")]},
        2,
        said=("spec.v: Invalid value: 2: failed rule: self < 1.5",),
    ),
    Case(
        "bad prefix",
        text(rule("cidr(self).prefixLength() == 4")),
        "10.0.0.0/33",
        said=(
            'spec.v: Invalid value: "string": network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix("10.0.0.0/33"): prefix length out of range evaluating rule: cidr(self).prefixLength() == 4',
        ),
    ),
    Case(
        "mapped ip",
        text(rule("ip(self).family() == 4")),
        "::ffff:1.2.3.4",
        said=(
            'spec.v: Invalid value: "string": IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed evaluating rule: ip(self).family() == 4',
        ),
    ),
    Case(
        "embedded ratchet",
        obj({"a": INT, "b": INT}, rule("self.a == 1")),
        {"a": 2, "b": 1},
        old={"a": 2},
        said=("spec.v: Invalid value: failed rule: self.a == 1",),
    ),
    Case(
        "optional message",
        text(rule("self == 'a'", messageExpression="'got ' + self")),
        "b",
        said=('spec.v: Invalid value: "b": got b',),
    ),
    Case("connector none", CONNECTOR, {}, said=("spec.v: Invalid value: one role at least",)),
    Case("connector ok", CONNECTOR, {"exitNode": True}),
    Case(
        "connector both",
        CONNECTOR,
        {"exitNode": True, "appConnector": {}, "hostname": "a", "hostnamePrefix": "b", "replicas": 2},
        said=(
            "spec.v: Invalid value: appConnector goes alone",
            "spec.v: Invalid value: one hostname, one replica",
            "spec.v: Invalid value: failed rule: !(has(self.hostname) && has(self.hostnamePrefix))",
        ),
    ),
    Case(
        "connector tailnet changed",
        CONNECTOR,
        {"exitNode": True, "tailnet": "b"},
        old={"exitNode": True, "tailnet": "a"},
        said=('spec.v.tailnet: Invalid value: "b": the tailnet stays',),
    ),
    Case("connector tailnet added", CONNECTOR, {"exitNode": True, "tailnet": "b"}, old={"exitNode": True}),
    Case(
        "group type",
        GROUP,
        {"type": "ingress"},
        old={"type": "egress"},
        said=('spec.v.type: Invalid value: "ingress": the type stays',),
    ),
    Case(
        "group apiserver",
        GROUP,
        {"type": "kube-apiserver"},
        said=(
            "spec.v: Invalid value: failed rule: self.type != 'kube-apiserver' || has(self.kubeAPIServer)",
        ),
    ),
    Case("group ok", GROUP, {"type": "kube-apiserver", "kubeAPIServer": {}}),
    Case(
        "matches bad",
        only("self.matches('^[a-z0-9]$')"),
        "A",
        said=("spec.v: Invalid value: \"A\": failed rule: self.matches('^[a-z0-9]$')",),
    ),
    Case("matches good", only("self.matches('^[a-z0-9]$')"), "a"),
    Case(
        "all bad",
        listed(STR, rule("self.all(x, x.startsWith('tag:'))", message=" tags only ")),
        ["tag:a", "b"],
        said=("spec.v: Invalid value: tags only",),
    ),
    Case(
        "exists ternary",
        listed(STR, rule("self.exists(x, x == 'a') ? size(self) == 2 : true")),
        ["a"],
        said=("spec.v: Invalid value: failed rule: self.exists(x, x == 'a') ? size(self) == 2 : true",),
    ),
    Case(
        "exists one",
        listed(STR, rule("self.exists_one(x, x == 'a')")),
        ["a", "a"],
        said=("spec.v: Invalid value: failed rule: self.exists_one(x, x == 'a')",),
    ),
    Case(
        "in list",
        only("self in ['a', 'b']"),
        "c",
        said=("spec.v: Invalid value: \"c\": failed rule: self in ['a', 'b']",),
    ),
    Case(
        "map in",
        {
            "type": "object",
            "maxProperties": 4,
            "additionalProperties": {"type": "integer", V: [rule("self > 0")]},
            V: [rule("'a' in self"), rule("self.all(k, self[k] < 5)")],
        },
        {"b": 9, "c": 0},
        said=(
            "spec.v: Invalid value: failed rule: 'a' in self",
            "spec.v: Invalid value: failed rule: self.all(k, self[k] < 5)",
            "spec.v[c]: Invalid value: 0: failed rule: self > 0",
        ),
    ),
    Case(
        "map old",
        {
            "type": "object",
            "maxProperties": 4,
            "additionalProperties": {"type": "integer", V: [rule("self >= oldSelf")]},
        },
        {"b": 1, "c": 0},
        old={"b": 2},
        said=("spec.v[b]: Invalid value: 1: failed rule: self >= oldSelf",),
    ),
    Case(
        "map atomic",
        {
            "type": "object",
            "maxProperties": 4,
            "x-kubernetes-map-type": "atomic",
            "additionalProperties": {"type": "integer", V: [rule("self > 0")]},
        },
        {"b": 0, "c": 0},
        old={"b": 0},
        said=("spec.v[c]: Invalid value: 0: failed rule: self > 0",),
    ),
    Case(
        "items",
        listed({"type": "integer", V: [rule("self % 2 == 0", reason="FieldValueForbidden", message="odd")]}),
        [2, 3],
        said=("spec.v[1]: Forbidden: odd",),
    ),
    Case(
        "maplist",
        BY_NAME,
        [{"name": "b", "v": 0}, {"name": "a", "v": 1}, {"name": "c", "v": 0}],
        old=[{"name": "a", "v": 2}, {"name": "b", "v": 0}],
        said=("spec.v[1].v: Invalid value: 1: never less",),
    ),
    Case(
        "setlist equal",
        {**listed(STR, rule("self == oldSelf")), "x-kubernetes-list-type": "set"},
        ["b", "a"],
        old=["a", "b"],
    ),
    Case(
        "setlist other",
        {**listed(STR, rule("self == oldSelf")), "x-kubernetes-list-type": "set"},
        ["b", "c"],
        old=["a", "b"],
        said=("spec.v: Invalid value: failed rule: self == oldSelf",),
    ),
    Case(
        "message expression",
        obj(
            {"a": INT, "max": INT},
            rule(
                "self.a <= self.max",
                messageExpression="'a is %d, at most %d'.format([self.a, self.max])",
                message="no",
            ),
        ),
        {"a": 3, "max": 2},
        said=("spec.v: Invalid value: a is 3, at most 2",),
    ),
    Case(
        "message expression fails",
        obj(
            {"a": INT, "max": INT},
            rule("self.a <= 2", messageExpression="self.max > 0 ? 'a' : 'b'", message="fallback"),
        ),
        {"a": 3},
        said=("spec.v: Invalid value: fallback",),
    ),
    Case(
        "message expression empty",
        text(rule("self == 'a'", messageExpression="' '")),
        "b",
        said=("spec.v: Invalid value: \"b\": failed rule: self == 'a'",),
    ),
    Case(
        "field path",
        obj(
            {"a": obj({"b": INT, "c-d": INT})},
            rule("!has(self.a)", fieldPath=".a.b", reason="FieldValueRequired"),
            rule("!has(self.a)", fieldPath=".a['c-d']", reason="FieldValueInvalid", message="m"),
        ),
        {"a": {"b": 1}},
        said=("spec.v.a.b: Required value: failed rule: !has(self.a)", "spec.v.a.c-d: Invalid value: m"),
    ),
    Case(
        "duplicate",
        text(rule("self == 'a'", reason="FieldValueDuplicate", message="twice")),
        "b",
        said=('spec.v: Duplicate value: "b"',),
    ),
    Case(
        "duplicate object",
        obj({"a": INT}, rule("self.a == 1", reason="FieldValueDuplicate", message="twice")),
        {"a": 2},
        said=("spec.v: Duplicate value",),
    ),
    Case(
        "boolean value",
        {"type": "boolean", V: [rule("self")]},
        False,
        said=("spec.v: Invalid value: false: failed rule: self",),
    ),
    Case(
        "number value",
        {"type": "number", V: [rule("self < 1.0")]},
        2,
        said=("spec.v: Invalid value: 2: failed rule: self < 1.0",),
    ),
    Case(
        "number fraction",
        {"type": "number", V: [rule("self < 1.0")]},
        2.5,
        said=("spec.v: Invalid value: 2.5: failed rule: self < 1.0",),
    ),
    Case(
        "quoted value",
        text(rule("self == ''")),
        'a"b\u00e9\t<',
        said=('spec.v: Invalid value: "a\\"bé\\t<": failed rule: self == \'\'',),
    ),
    Case(
        "keywords",
        obj(
            {"namespace": STR, "a-b": STR, "a.b/c": STR, "x__y": STR, "_u": STR},
            rule(
                "self.__namespace__ == self.a__dash__b && self.a__dot__b__slash__c == 'c' && self.x__underscores__y == 'y' && self._u == 'u'"
            ),
        ),
        {"namespace": "n", "a-b": "n", "a.b/c": "c", "x__y": "y", "_u": "x"},
        said=(
            "spec.v: Invalid value: failed rule: self.__namespace__ == self.a__dash__b && self.a__dot__b__slash__c == 'c' && self.x__underscores__y == 'y' && self._u == 'u'",
        ),
    ),
    Case(
        "keywords ok",
        obj(
            {"namespace": STR, "a-b": STR, "a.b/c": STR, "x__y": STR, "_u": STR},
            rule(
                "self.__namespace__ == self.a__dash__b && self.a__dot__b__slash__c == 'c' && self.x__underscores__y == 'y' && self._u == 'u'"
            ),
        ),
        {"namespace": "n", "a-b": "n", "a.b/c": "c", "x__y": "y", "_u": "u"},
    ),
    Case(
        "ios int",
        EITHER,
        7,
        said=("spec.v: Invalid value: 7: failed rule: type(self) == string ? self.endsWith('%') : self < 5",),
    ),
    Case(
        "ios text",
        EITHER,
        "7",
        said=(
            "spec.v: Invalid value: \"7\": failed rule: type(self) == string ? self.endsWith('%') : self < 5",
        ),
    ),
    Case("ios ok", EITHER, "7%"),
    Case(
        "ios overload",
        {"x-kubernetes-int-or-string": True, V: [rule("self < 5")]},
        "a",
        said=(
            "spec.v: Invalid value: \"\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self < 5",
        ),
    ),
    Case(
        "no such key",
        obj({"a": INT}, rule("self.a > 1")),
        {},
        said=('spec.v: Invalid value: "object": no such key: a evaluating rule: self.a > 1',),
    ),
    Case(
        "no such key message",
        obj({"a": INT}, rule("self.a > 1", message="M")),
        {},
        said=('spec.v: Invalid value: "object": no such key: a evaluating rule: M',),
    ),
    Case(
        "no such map key",
        {"type": "object", "maxProperties": 4, "additionalProperties": INT, V: [rule("self['x'] > 1")]},
        {"a": 1},
        said=("spec.v: Invalid value: \"object\": no such key: x evaluating rule: self['x'] > 1",),
    ),
    Case(
        "index",
        listed(STR, rule("self[3] == 'a'")),
        ["a"],
        said=("spec.v: Invalid value: \"array\": index out of bounds: 3 evaluating rule: self[3] == 'a'",),
    ),
    Case(
        "division",
        {"type": "integer", V: [rule("1 / self == 1")]},
        0,
        said=('spec.v: Invalid value: "integer": division by zero evaluating rule: 1 / self == 1',),
    ),
    Case(
        "modulus",
        {"type": "integer", V: [rule("1 % self == 1")]},
        0,
        said=('spec.v: Invalid value: "integer": modulus by zero evaluating rule: 1 % self == 1',),
    ),
    Case(
        "overflow",
        {"type": "integer", V: [rule("self + 1 > 0")]},
        9223372036854775807,
        said=('spec.v: Invalid value: "integer": integer overflow evaluating rule: self + 1 > 0',),
    ),
    Case(
        "bad int",
        text(rule("int(self) == 1")),
        "x",
        said=(
            "spec.v: Invalid value: \"string\": type conversion error from 'string' to 'int' evaluating rule: int(self) == 1",
        ),
    ),
    Case(
        "bad duration",
        text(rule("duration(self) > duration('1s')")),
        "x",
        said=(
            "spec.v: Invalid value: \"string\": type conversion error from 'string' to 'google.protobuf.Duration' evaluating rule: duration(self) > duration('1s')",
        ),
    ),
    Case(
        "bad timestamp",
        text(rule("timestamp(self) > timestamp('2020-01-01T00:00:00Z')")),
        "x",
        said=(
            "spec.v: Invalid value: \"string\": type conversion error from 'string' to 'google.protobuf.Timestamp' evaluating rule: timestamp(self) > timestamp('2020-01-01T00:00:00Z')",
        ),
    ),
    Case(
        "bad quantity",
        text(rule("quantity(self).isLessThan(quantity('1'))")),
        "x",
        said=(
            "spec.v: Invalid value: \"string\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$' evaluating rule: quantity(self).isLessThan(quantity('1'))",
        ),
    ),
    Case(
        "bad url",
        text(rule("url(self).getHost() == ''")),
        "x y",
        said=(
            'spec.v: Invalid value: "string": URL parse error during conversion from string: parse "x y": invalid URI for request evaluating rule: url(self).getHost() == \'\'',
        ),
    ),
    Case(
        "bad ip",
        text(rule("ip(self).family() == 4")),
        "x",
        said=(
            'spec.v: Invalid value: "string": IP Address "x" parse error during conversion from string: ParseAddr("x"): unable to parse IP evaluating rule: ip(self).family() == 4',
        ),
    ),
    Case(
        "bad cidr",
        text(rule("cidr(self).prefixLength() == 4")),
        "x",
        said=(
            'spec.v: Invalid value: "string": network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix("x"): no \'/\' evaluating rule: cidr(self).prefixLength() == 4',
        ),
    ),
    Case(
        "bad regex",
        text(rule("'a'.matches(self)")),
        "(",
        said=(
            "spec.v: Invalid value: \"string\": error parsing regexp: missing closing ): `(` evaluating rule: 'a'.matches(self)",
        ),
    ),
    Case(
        "date time",
        {**STR, "format": "date-time", V: [rule("self < timestamp('2030-01-01T00:00:00Z')")]},
        "2031-01-01T00:00:00Z",
        said=(
            "spec.v: Invalid value: \"2031-01-01T00:00:00Z\": failed rule: self < timestamp('2030-01-01T00:00:00Z')",
        ),
    ),
    Case(
        "date",
        {**STR, "format": "date", V: [rule("self < timestamp('2030-01-01T00:00:00Z')")]},
        "2031-01-01",
        said=(
            "spec.v: Invalid value: \"2031-01-01\": failed rule: self < timestamp('2030-01-01T00:00:00Z')",
        ),
    ),
    Case(
        "duration",
        {**STR, "format": "duration", V: [rule("self < duration('1h')")]},
        "90m",
        said=("spec.v: Invalid value: \"90m\": failed rule: self < duration('1h')",),
    ),
    Case(
        "times within",
        obj(
            {"t": {**STR, "format": "date-time"}, "d": listed({**STR, "format": "duration"}), "a": INT},
            rule("has(self.a) || self.t + self.d[0] < timestamp('2030-01-01T00:00:00Z')"),
        ),
        {"t": "2031-01-01T00:00:00Z", "d": ["1h"]},
        said=(
            "spec.v: Invalid value: failed rule: has(self.a) || self.t + self.d[0] < timestamp('2030-01-01T00:00:00Z')",
        ),
    ),
    Case(
        "bytes",
        {**STR, "format": "byte", V: [rule("self == b'ab'")]},
        "YWM=",
        said=("spec.v: Invalid value: \"YWM=\": failed rule: self == b'ab'",),
    ),
    Case("bytes ok", {**STR, "format": "byte", V: [rule("self == b'ab'")]}, "YWI="),
    Case(
        "optional old",
        text(rule("oldSelf.hasValue() ? oldSelf.value() == self : self == 'a'", optionalOldSelf=True)),
        "b",
        said=(
            "spec.v: Invalid value: \"b\": failed rule: oldSelf.hasValue() ? oldSelf.value() == self : self == 'a'",
        ),
    ),
    Case(
        "optional old update",
        text(rule("oldSelf.hasValue() ? oldSelf.value() == self : self == 'a'", optionalOldSelf=True)),
        "b",
        old="c",
        said=(
            "spec.v: Invalid value: \"b\": failed rule: oldSelf.hasValue() ? oldSelf.value() == self : self == 'a'",
        ),
    ),
    Case("optional old or", text(rule("oldSelf.orValue('b') == self", optionalOldSelf=True)), "b"),
    Case(
        "optional field",
        obj({"a": INT}, rule("self.?a.orValue(3) == 4")),
        {},
        said=("spec.v: Invalid value: failed rule: self.?a.orValue(3) == 4",),
    ),
    Case("ratchet same", text(rule("self == 'a'")), "b", old="b"),
    Case(
        "ratchet changed",
        text(rule("self == 'a'")),
        "b",
        old="c",
        said=("spec.v: Invalid value: \"b\": failed rule: self == 'a'",),
    ),
    Case(
        "ratchet inside",
        obj({"a": text(rule("self == 'a'")), "b": INT}, rule("self.b < 1")),
        {"a": "x", "b": 2},
        old={"a": "x", "b": 1},
        said=("spec.v: Invalid value: failed rule: self.b < 1",),
    ),
    Case(
        "ratchet list",
        listed(text(rule("self == 'a'"))),
        ["x", "a"],
        old=["x"],
        said=("spec.v[0]: Invalid value: \"x\": failed rule: self == 'a'",),
    ),
    Case("ratchet list same", listed(text(rule("self == 'a'"))), ["x"], old=["x"]),
    Case(
        "ratchet error",
        obj({"a": INT}, rule("self.a > 1")),
        {},
        old={},
        said=('spec.v: Invalid value: "object": no such key: a evaluating rule: self.a > 1',),
    ),
    Case("nullable", {**text(rule("self == 'a'")), "nullable": True}, None),
    Case(
        "nullable bad",
        {**text(rule("self == 'a'")), "nullable": True},
        "b",
        said=("spec.v: Invalid value: \"b\": failed rule: self == 'a'",),
    ),
    Case(
        "default message",
        text(rule("  self == 'a'  ")),
        "b",
        said=("spec.v: Invalid value: \"b\": failed rule: self == 'a'",),
    ),
    Case(
        "strings case",
        {**SHORT, V: [rule("self.lowerAscii() == 'a,b' && self.upperAscii() == 'A,B'")]},
        "a,B",
    ),
    Case("strings split", {**SHORT, V: [rule("self.split(',').size() == 2")]}, "a,B"),
    Case("strings join", listed(SHORT, rule("self.join('-') == 'a-b'")), ["a", "b"]),
    Case(
        "strings replace trim",
        {
            **SHORT,
            V: [rule("self.replace(',', '') == 'aB' && ' a '.trim() == 'a' && self.substring(0, 1) == 'a'")],
        },
        "a,B",
    ),
    Case(
        "strings index of",
        {
            **SHORT,
            V: [
                rule(
                    "self.indexOf(',') == 1 && self.charAt(0) == 'a' && 'aba'.lastIndexOf('a') == 2 && self.contains(',')"
                )
            ],
        },
        "a,B",
    ),
    Case(
        "strings format quote",
        {**SHORT, V: [rule("'%s-%d'.format(['a', 1]) == 'a-1' && strings.quote('a') != 'a'")]},
        "a,B",
    ),
    Case(
        "regex",
        text(
            rule(
                "self.find('[0-9]+') == '12' && self.findAll('[0-9]') == ['1','2','3'] && self.findAll('[0-9]', 2) == ['1','2'] && self.find('x') == ''"
            )
        ),
        "a12b3",
    ),
    Case(
        "lists",
        listed(
            INT,
            rule(
                "self.isSorted() && self.sum() == 6 && self.min() == 1 && self.max() == 3 && self.indexOf(2) == 1 && self.lastIndexOf(9) == -1 && sets.contains(self, [1]) && sets.intersects(self, [9, 1]) && !sets.equivalent(self, [1])"
            ),
        ),
        [1, 2, 3],
    ),
    Case(
        "min empty",
        listed(INT, rule("self.min() == 1")),
        [],
        said=('spec.v: Invalid value: "array": min called on empty list evaluating rule: self.min() == 1',),
    ),
    Case("sum empty", listed(INT, rule("self.sum() == 0 && self.isSorted()")), []),
    Case(
        "urls",
        text(
            rule(
                "isURL(self) && !isURL('a b') && !isURL('a.b') && isURL('/p') && url(self).getScheme() == 'https' && url(self).getHost() == 'u.ts.net:8443' && url(self).getHostname() == 'u.ts.net' && url(self).getPort() == '8443' && url(self).getEscapedPath() == '/a%20b' && url(self).getQuery()['k'] == ['v','w'] && url('https://[::1]:80/').getHostname() == '::1' && url(self) == url(self)"
            )
        ),
        "https://u.ts.net:8443/a%20b?k=v&k=w",
    ),
    Case(
        "ips",
        text(
            rule(
                "isIP(self) && !isIP('1.2.3') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && ip(self).family() == 4 && ip(self).isLoopback() && !ip(self).isGlobalUnicast() && ip('10.0.0.1').isGlobalUnicast() && ip('0.0.0.0').isUnspecified() && ip('224.0.0.1').isLinkLocalMulticast() && ip('fe80::1').isLinkLocalUnicast() && ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && string(ip('0:0::1')) == '::1' && ip('::1') == ip('0::1')"
            )
        ),
        "127.0.0.1",
    ),
    Case(
        "cidrs",
        text(
            rule(
                "isCIDR(self) && !isCIDR('1.2.3.4') && !isCIDR('10.0.0.0/33') && cidr(self).prefixLength() == 8 && cidr(self).containsIP('10.1.2.3') && cidr(self).containsIP(ip('10.1.2.3')) && !cidr(self).containsIP('11.1.2.3') && cidr(self).containsCIDR('10.1.0.0/16') && !cidr(self).containsCIDR(cidr('0.0.0.0/0')) && cidr('10.1.2.3/8').masked() == cidr(self) && cidr(self).ip() == ip('10.0.0.0') && string(cidr(self)) == self"
            )
        ),
        "10.0.0.0/8",
    ),
    Case(
        "quantities",
        text(
            rule(
                "isQuantity(self) && !isQuantity('1Gib') && quantity(self).isGreaterThan(quantity('1G')) && quantity('500m').isLessThan(quantity('1')) && quantity('1000m').compareTo(quantity('1')) == 0 && quantity('1000m') == quantity('1') && quantity('1k').isInteger() && quantity('1k').asInteger() == 1000 && !quantity('500m').isInteger() && quantity('500m').asApproximateFloat() == 0.5 && quantity('1').add(quantity('500m')).compareTo(quantity('1500m')) == 0 && quantity('3').sub(1) == quantity('2') && quantity('1').add(2) == quantity('3')"
            )
        ),
        "1Gi",
    ),
    Case("sign", text(rule("sign(quantity(self)) == -1")), "-1"),
    Case(
        "double compare", {"type": "number", V: [rule("self == 2.0 && self > 1 && type(self) == double")]}, 2
    ),
    Case("unicode size", text(rule("self.size() == 2")), "é😀"),
    Case("literals", text(rule(r"self == 'oldSelf.x' || self.matches(r'^\d+$') == false // oldSelf")), "a"),
    Case(
        "literal old",
        text(rule(r"self != 'oldSelf' && self != '\'oldSelf'")),
        "oldSelf",
        said=("spec.v: Invalid value: \"oldSelf\": failed rule: self != 'oldSelf' && self != '\\'oldSelf'",),
    ),
    Case("dyn mixed", text(rule("dyn(1) == 1.0 && type(self) == string")), "a"),
    Case(
        "embedded",
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
            V: [rule("self.kind == 'Pod' && self.metadata.name == 'x' && !has(self.metadata.generateName)")],
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "y"}},
        said=(
            "spec.v: Invalid value: failed rule: self.kind == 'Pod' && self.metadata.name == 'x' && !has(self.metadata.generateName)",
        ),
    ),
]

REFUSED = [
    Refused(
        "syntax",
        text(rule("self ===")),
        "properties[v].x-kubernetes-validations[0].rule",
        "Invalid value: {\"Rule\":\"self ===\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:8: Syntax error: token recognition error at: '='\n | self ===\n | .......^\nERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self ===\n | ........^",
    ),
    Refused(
        "undefined",
        obj({"a": INT}, rule("self.b == 1")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"self.b == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field \'b\'\n | self.b == 1\n | ....^',
    ),
    Refused(
        "undefined deep",
        obj({"a": obj({"b": INT})}, rule("has(self.a) && self.a.c > 1")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"has(self.a) \\u0026\\u0026 self.a.c \\u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:22: undefined field \'c\'\n | has(self.a) && self.a.c > 1\n | .....................^',
    ),
    Refused(
        "not bool",
        text(rule("self")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"self","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: cel expression must evaluate to a bool',
    ),
    Refused(
        "types",
        text(rule("self > 1")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"self \\u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:6: found no matching overload for \'_>_\' applied to \'(string, int)\'\n | self > 1\n | .....^',
    ),
    Refused(
        "unknown function",
        text(rule("self.foo()")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"self.foo()","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:9: undeclared reference to \'foo\' (in container \'\')\n | self.foo()\n | ........^',
    ),
    Refused(
        "unknown variable",
        text(rule("this == 'a'")),
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"this == \'a\'","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:1: undeclared reference to \'this\' (in container \'\')\n | this == \'a\'\n | ^',
    ),
    Refused(
        "empty",
        text(rule(" ")),
        "properties[v].x-kubernetes-validations[0].rule",
        "Required value: rule is not specified",
    ),
    Refused(
        "message type",
        text(rule("self == 'a'", messageExpression="1")),
        "properties[v].x-kubernetes-validations[0].messageExpression",
        'Invalid value: {"Rule":"self == \'a\'","Message":"","MessageExpression":"1","Reason":null,"FieldPath":"","OptionalOldSelf":null}: messageExpression must evaluate to a string',
    ),
    Refused(
        "message syntax",
        text(rule("self == 'a'", messageExpression="self +")),
        "properties[v].x-kubernetes-validations[0].messageExpression",
        "Invalid value: {\"Rule\":\"self == 'a'\",\"Message\":\"\",\"MessageExpression\":\"self +\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: messageExpression compilation failed: ERROR: <input>:1:7: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self +\n | ......^",
    ),
    Refused(
        "old in atomic",
        listed(text(rule("self == oldSelf"))),
        "properties[v].items.x-kubernetes-validations[0].rule",
        'Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec].properties[v]',
    ),
    Refused(
        "optional unused",
        text(rule("self == 'a'", optionalOldSelf=True)),
        "properties[v].x-kubernetes-validations[0].optionalOldSelf",
        "Invalid value: true: may not be set if oldSelf is not used in rule",
    ),
    Refused(
        "reason",
        text(rule("self == 'a'", reason="Nope")),
        "properties[v].x-kubernetes-validations[0].reason",
        'Unsupported value: "Nope": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"',
    ),
    Refused(
        "preserved",
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True, V: [rule("self.a == 1")]},
        "properties[v].x-kubernetes-validations[0].rule",
        'Invalid value: {"Rule":"self.a == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field \'a\'\n | self.a == 1\n | ....^',
    ),
    Refused(
        "line break",
        text(rule("self == 'a'", message="a\nb")),
        "properties[v].x-kubernetes-validations[0].message",
        'Invalid value: "a\\nb": must not contain line breaks',
    ),
    Refused(
        "rule break",
        text(rule("self ==\n'a'")),
        "properties[v].x-kubernetes-validations[0].message",
        "Required value: message must be specified if rule contains line breaks",
    ),
    Refused(
        "field path",
        obj({"a": INT}, rule("self.a == 1", fieldPath=".b")),
        "properties[v].x-kubernetes-validations[0].fieldPath",
        'Invalid value: ".b": must be a valid path',
    ),
    Refused(
        "blank message",
        text(rule("self == 'a'", message=" ")),
        "properties[v].x-kubernetes-validations[0].message",
        'Invalid value: " ": must be non-empty if specified',
    ),
    Refused(
        "bind",
        text(rule("cel.bind(x, self, x == 'a')")),
        "properties[v].x-kubernetes-validations[0].rule",
        "Invalid value: {\"Rule\":\"cel.bind(x, self, x == 'a')\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:1: undeclared reference to 'cel' (in container '')\n | cel.bind(x, self, x == 'a')\n | ^\nERROR: <input>:1:9: undeclared reference to 'bind' (in container '')\n | cel.bind(x, self, x == 'a')\n | ........^\nERROR: <input>:1:10: undeclared reference to 'x' (in container '')\n | cel.bind(x, self, x == 'a')\n | .........^\nERROR: <input>:1:19: undeclared reference to 'x' (in container '')\n | cel.bind(x, self, x == 'a')\n | ..................^",
    ),
]
