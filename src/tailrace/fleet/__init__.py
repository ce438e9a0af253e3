"""One proxy and its device, whoever asked for it: what exists of it, what is missing, what is true, how it goes away.

Belongs here: what a Service, an egress and a replica of a Connector share because each of them is a device. Does not belong
here: what a user asked for and where the traffic goes, which is the business of the rooms in `kinds`, the only callers.

Reading order, all of it pure: `world` says what may be known of one proxy, `children` which objects are its own; `wish`
what it shall be; `refusal` why it is not made; `provision` what is missing, `naming` whose the name is, `plea` what a proxy
gets that asks for another key; `progress` what is waited for; `truth` and `claims` what is true, `official` the same in the
official operator's words; `removal` how it ends; `failure` what went wrong; `view` is its row. `services` has what two rooms
share because a Service asks for both; `ranges` and `approval` know about routes, `adoption` about proxies that the official
operator made. At the edge: `stores` holds what is watched, `gather` fills a world from it and has plans carried out,
`admission` asks the cluster whether it admits privileged pods.
"""
