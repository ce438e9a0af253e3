"""The one defining file of condition types and reasons; the reference page is generated from it."""

from __future__ import annotations

import enum


class Documented(enum.StrEnum):
    """A string enum whose members carry a line of documentation."""

    doc: str

    def __new__(cls, value: str, doc: str) -> Documented:
        member = str.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member


class ConditionType(Documented):
    """Conditions that Tailrace writes."""

    PROXY_READY = (
        "TailscaleProxyReady",
        "The official operator's condition: True once the proxy exists and its device has a name.",
    )
    ACCEPTED = "Accepted", "What was asked for is valid and can be given here."
    PROVISIONED = "Provisioned", "The proxy's objects exist and it has, or had, a key to join with."
    ONLINE = "Online", "The control plane sees the device connected."
    BACKEND_READY = "BackendReady", "There is something behind the Service that can answer."
    TARGET_READY = (
        "TargetReady",
        "The device or router that an egress leads to is connected and lets it through.",
    )
    ROUTES_APPROVED = "RoutesApproved", "Every route that a Connector advertises is approved and served."
    READY = "Ready", "All of the above: traffic gets through."
    CONNECTOR_READY = (
        "ConnectorReady",
        "The official operator's condition of a Connector: True once its devices have names.",
    )
    PROXY_CLASS_READY = (
        "ProxyClassReady",
        "The official operator's condition of a ProxyClass: it can be used.",
    )
    TAILNET_READY = (
        "TailnetReady",
        "On a Tailnet: its control plane answers, and lets the operator do its work.",
    )


class Reason(Documented):
    """Why a condition has its status."""

    # TailscaleProxyReady, as the official operator spells them
    PROXY_CREATED = "ProxyCreated", "The proxy is there."
    PROXY_INVALID = (
        "ProxyInvalid",
        "The Service or the operator's settings are not valid; the message says what to change.",
    )
    PROXY_FAILED = "ProxyFailed", "The proxy could not be made; the message says why."
    PROXY_PENDING = "ProxyPending", "The proxy is being made or waits for something."

    # ConnectorReady, ProxyClassReady, TailnetReady, as the official operator spells them
    CONNECTOR_CREATED = "ConnectorCreated", "The Connector's devices are there."
    CONNECTOR_CREATING = "ConnectorCreating", "They are being made."
    CONNECTOR_CREATION_FAILED = "ConnectorCreationFailed", "They could not be made; the message says why."
    CONNECTOR_INVALID = "ConnectorInvalid", "The Connector is not valid; the message says what to change."
    PROXY_CLASS_VALID = "ProxyClassValid", "Proxies may use it."
    PROXY_CLASS_INVALID = "ProxyClassInvalid", "The ProxyClass is not valid; the message says what to change."

    # Accepted
    ACCEPTED = "Accepted", "Valid; the message names the proxy's mode and why it was chosen."
    INVALID_SERVICE = (
        "InvalidService",
        "An annotation or the Service's shape is wrong; the message says how to write it.",
    )
    NOT_SERVED = "NotServed", "It names something that this version does not serve; nothing is done to it."
    CLASS_NOT_READY = "ProxyClassNotReady", "Its ProxyClass is missing or not ready; it is waited for."
    TAILNET_NOT_READY = "TailnetNotReady", "Its Tailnet is missing or not ready; it is waited for."
    HOSTNAME_TAKEN = "HostnameTaken", "An older Service asks for the same hostname."
    NAME_CONFLICT = "NameConflict", "A device that is alive, or not ours, has the name."
    OFFICIAL_RUNNING = (
        "OfficialOperatorRunning",
        "The proxy was made by the official operator, which runs still; the message says how to stop it.",
    )
    MODE_REFUSED = "ModeRefused", "The cluster does not admit a privileged pod and the ports need one."

    # Provisioned
    PROVISIONED = "Provisioned", "All objects of the proxy exist."
    PROVISIONING = "Provisioning", "They are being made."
    CREDENTIALS_REFUSED = (
        "CredentialsRefused",
        "The control plane, or the cluster, refuses our credentials or rights.",
    )
    CONTROL_PLANE_UNREACHABLE = (
        "ControlPlaneUnreachable",
        "The control plane does not answer; it is tried again.",
    )
    KEY_REFUSED = (
        "KeyRefused",
        "The control plane refuses these tags, or a key for them; the message has its words.",
    )
    REFUSED_BY_CLUSTER = "RefusedByCluster", "The API server refuses an object of the proxy."
    INTERNAL_ERROR = "InternalError", "A fault of Tailrace itself; the log has the details."

    # Online
    CONNECTED = "Connected", "The device is connected; the message has its name and addresses."
    WAITING_FOR_LOGIN = (
        "WaitingForLogin",
        "The proxy has not joined the tailnet yet; the message says what its pod does.",
    )
    DISCONNECTED = "Disconnected", "The device exists but is not connected."
    PROXY_NOT_READY = (
        "ProxyNotReady",
        "The device is connected, and the proxy's pod has not been ready for a while: it may answer nobody.",
    )
    DEVICE_GONE = (
        "DeviceGone",
        "The device was deleted on the control plane; the proxy is given a new key and restarted.",
    )
    TAGS_DIFFER = (
        "TagsDiffer",
        "The device has other tags than asked for and they cannot be changed in place.",
    )
    NAME_DIFFERS = "NameDiffers", "The device has another name than asked for; the message says why."

    # TargetReady
    TARGET_CONNECTED = "TargetConnected", "The target's device is connected."
    TARGET_NOT_FOUND = "TargetNotFound", "The tailnet has no device of that name or address."
    TARGET_OFFLINE = "TargetOffline", "The target's device is not connected."
    ROUTE_SERVED = "RouteServed", "A connected router serves the route to the target."
    ROUTE_NOT_ACCEPTED = (
        "RouteNotAccepted",
        "The proxy does not accept routes; the message says which class to use.",
    )
    ROUTE_NOT_APPROVED = "RouteNotApproved", "A router advertises the route, and nobody has approved it."
    ROUTER_OFFLINE = "RouterOffline", "The router of the route is not connected."
    NO_ROUTER = "NoRouter", "No device of the tailnet advertises a route to the target."
    ROUTE_LOOPS = (
        "RouteLoops",
        "The proxy would accept a route to this cluster's own range, and answers would not come back.",
    )

    # Online of a Connector
    NO_REPLICAS = "NoReplicas", "`spec.replicas` is 0: there is no device, and nothing is routed."

    # RoutesApproved
    ROUTES_SERVED = "RoutesServed", "All routes are approved and served."
    ROUTES_NOT_APPROVED = "RoutesNotApproved", "Some routes are not approved; the message says which and how."
    ROUTES_NOT_SERVED = (
        "RoutesNotServed",
        "Some routes are approved and yet served by nobody, or by another device.",
    )
    ROUTES_UNKNOWN = "RoutesUnknown", "The control plane cannot be asked about routes."

    # BackendReady
    ENDPOINTS_READY = "EndpointsReady", "At least one endpoint is ready."
    NO_ENDPOINTS = "NoEndpoints", "Nothing is behind the Service."
    NO_READY_ENDPOINTS = "NoReadyEndpoints", "There are endpoints, none of them ready."
    EXTERNAL_NAME = "ExternalName", "The target is outside the cluster and is not checked."

    # Ready
    READY = "Ready", "Traffic is answered."

    # TailnetReady, the first three as the official operator spells them; also ControlPlaneUnreachable
    TAILNET_VALID = "TailnetValid", "The control plane answers; the message says as whom we are known there."
    INVALID_SECRET = (
        "InvalidSecret",
        "The Tailnet's Secret is missing, or has not what is needed; the message says what.",
    )
    INVALID_OAUTH = (
        "InvalidOAuth",
        "The control plane refuses the Tailnet's credential, or it may too little; the message has its words.",
    )
    TAILNET_IN_USE = "InUse", "The Tailnet is to be deleted, and the message says what uses it still."


class EventReason(Documented):
    """Reasons of the Events that Tailrace emits."""

    INVALID_SERVICE = (
        "INVALIDSERVICE",
        "The Service asks for something invalid (the official operator's spelling).",
    )
    UNKNOWN_ANNOTATION = "UnknownAnnotation", "An annotation looks like one of ours but is none."
    NOT_SERVED = "NotServed", "It names something that this version does not serve."
    NAME_CONFLICT = "NameConflict", "The name is taken."
    DEVICE_REPLACED = (
        "DeviceReplaced",
        "A dead device was deleted first: one of the same name, or what a proxy was and cannot be any more.",
    )
    DEVICE_GONE = "DeviceGone", "The device was deleted on the control plane; it is made anew."
    PROXY_RESTARTED = (
        "ProxyRestarted",
        "A proxy that could not log in is started again, as the same device.",
    )
    FAILED = "ProxyFailed", "Something could not be done; the message says what and why."
    TAILNET_READY = "TailnetReady", "The Tailnet can be used."
    TAILNET_NOT_READY = "TailnetNotReady", "The Tailnet cannot be used; the message says why."
    TAILNET_IN_USE = "TailnetInUse", "The Tailnet is to be deleted, and something uses it still."
    ROUTES_APPROVED = "RoutesApproved", "Tailrace approved routes of a Connector."
    ROUTES_OVERLAP = (
        "RoutesOverlap",
        "A route overlaps with something that it should not; the message names both.",
    )
    INVALID_CONNECTOR = "ConnectorInvalid", "The Connector is not valid (the official operator's spelling)."
    CUSTOM_VARIABLE = (
        "CustomTSEnvVar",
        "A ProxyClass sets a variable of tailscale's own (the official operator's spelling).",
    )
    CLASS_WITHOUT_EFFECT = (
        "ProxyClassWithoutEffect",
        "A ProxyClass asks for something that has no effect here, or is refused.",
    )
    INVALID_CLASS = "ProxyClassInvalid", "The ProxyClass is not valid (the official operator's spelling)."
    OFFICIAL_RUNNING = (
        "OfficialOperatorRunning",
        "The object's proxy is the official operator's, which must be stopped before it is taken over.",
    )
