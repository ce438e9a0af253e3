"""One proxy and its device, whoever asked for it: what exists of it, what is missing, what is true, how it goes away.

Belongs here: what a Service, an egress and a replica of a Connector share because each of them is a device. Does not belong
here: what a user asked for and where the traffic goes, which is the business of the rooms in `kinds`, the only callers.
Reading order: `world` says what may be known of one proxy; `provision` says what is missing, `naming` whose the name is,
`truth` and `claims` what is true, `removal` how it ends, `failure` what went wrong. All of these are pure. `ranges` knows which routes lead into this cluster. `stores` holds
what is watched, `gather` fills a world from it, `admission` asks the cluster whether it admits privileged pods.
"""
