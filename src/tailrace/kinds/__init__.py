"""One room for each thing that a user can ask for, in reading order. This table is the product's contents.

| room         | what a user writes                                     | what it becomes                        |
| ------------ | ------------------------------------------------------ | -------------------------------------- |
| `service`    | `tailscale.com/expose: "true"`, class `tailscale`      | a device that answers                  |
| `egress`     | `tailscale.com/tailnet-fqdn` or `-ip`                  | a name in the cluster for a device     |
| `connector`  | a `Connector`                                          | devices that route                     |
| `proxyclass` | a `ProxyClass`                                         | how the pods of proxies look           |
| `tailnet`    | a `Tailnet` and its Secret                             | one more tailnet to be on              |
| `orphan`     | nothing: devices that could not be deleted in time     | deleted as soon as possible            |
| `sweep`      | nothing: what nobody needs any more                    | found, counted, deleted                |

Rooms do not import each other: what two of them share belongs in `fleet`, `proxy` or `plan`.
"""
