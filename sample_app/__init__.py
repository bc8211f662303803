"""Streams: a sample app with sticky sessions. Each machine hosts one creator, and viewers are routed to that machine.

It is written for Fly and runs there unchanged (`fly.toml`, `Dockerfile`): it needs only Fly's headers, `.internal`
names and these environment variables. An empty variable counts as not set.

| variable | meaning | default |
|---|---|---|
| `HOST`, `PORT` | address and port to listen on | every address, IPv4 and IPv6; 8080 |
| `FLY_REGION`, `FLY_MACHINE_ID`, `FLY_VM_MEMORY_MB` | set by Fly; shown on the page | `blank` |
| `FLY_APP_NAME` | set by Fly; used to find the app's other machines in DNS | none: no discovery |
| `DNS_SERVER` | IP address, or `address:port`, of the name server for `.internal` names | the system's |
| `DISCOVER_EVERY_SECONDS` | interval between discovery requests to the other machines | 10 |
| `STREAM_DESIGN` | `sticky`: viewers go to the creator's machine; `copy`: frames are copied to viewers | `sticky` |
| `STICKY_GUARD` | `1`: tolerate machines that no longer exist, and never replay twice | off |
| `COOKIE_MAX_AGE_SECONDS` | lifetime of the cookie | 518400, six days |
| `STALE_DIRECTORY` | a deliberate fault, see `creator_link`: `self` or `bounce` | none |

Two of these demonstrate failures. `COOKIE_MAX_AGE_SECONDS=518400000` is the value in the write-up that this app
follows: six days in milliseconds, in an attribute that counts seconds, so 16 years. `STALE_DIRECTORY` turns
`/creator/<anyone>` into a replay loop.
"""
