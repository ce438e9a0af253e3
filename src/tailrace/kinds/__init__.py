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

A kind that gets a device is a new room with what is its own, and `service` is the example to read:

- `inputs`: what its decision may know, beside what `fleet.world` knows of every proxy;
- `request`: what is asked for, a `fleet.wish.Wish`, with a sentence for each thing that is wrong;
- `decide`: `fleet.refusal` for what keeps it from it, a `spec.Target` for where the traffic goes, `fleet.provision` for the rest;
- `truth`: what must be true beside the device being connected, as `Claims.further`;
- `failure`: what stays true when a plan fails, told by `fleet.failure`;
- `controller`: what wakes it (`Fleet.serve` for all that proxies share), `gather`, and `Fleet.work`;
- `view`: its row.

It is built in `app.build_manager`, has its row in `fleet.official.WORDS`, its function in `cli.rooms`, and its names in
`api.names` and `api.conditions`.
"""
